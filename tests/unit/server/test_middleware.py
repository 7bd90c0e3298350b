"""The bound on the requests that a process works on."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.server.middleware import WorkLimit


def test_a_request_that_waits_for_its_body_delays_no_other() -> None:
    waiting, arrived = threading.Event(), threading.Event()

    class SlowBody:
        def read(self, size: int) -> bytes:
            waiting.set()
            assert arrived.wait(30)
            return b"slow"

    limited = WorkLimit(lambda environ, _: [environ["wsgi.input"].read()], most=1)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(limited, {"wsgi.input": SlowBody()}, None)
        assert waiting.wait(30)
        assert limited({"wsgi.input": io.BytesIO(b"quick")}, None) == [b"quick"]
        arrived.set()
        assert slow.result(30) == [b"slow"]


def test_no_more_requests_are_worked_on_at_a_time_than_allowed() -> None:
    pair, lock, at_work, most = threading.Barrier(2), threading.Lock(), 0, 0

    def work(_environ: Any, _start_response: Any) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        pair.wait(30)
        with lock:
            at_work -= 1

    limited = WorkLimit(work, most=2)
    with ThreadPoolExecutor(8) as pool:
        for request in [pool.submit(limited, {"wsgi.input": io.BytesIO()}, None) for _ in range(8)]:
            request.result(60)
    assert most == 2
