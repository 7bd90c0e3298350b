"""The limit on concurrent requests of a process."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.server.middleware import ConcurrencyLimit


def test_a_request_that_waits_for_its_body_does_not_delay_others() -> None:
    waiting, arrived = threading.Event(), threading.Event()

    class SlowBody:
        def read(self, size: int) -> bytes:
            waiting.set()
            assert arrived.wait(30)
            return b"slow"

    limited = ConcurrencyLimit(lambda environ, _: [environ["wsgi.input"].read()], limit=1)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(limited, {"wsgi.input": SlowBody()}, None)
        assert waiting.wait(30)
        assert limited({"wsgi.input": io.BytesIO(b"quick")}, None) == [b"quick"]
        arrived.set()
        assert slow.result(30) == [b"slow"]


def test_concurrent_requests_do_not_exceed_the_limit() -> None:
    pair, lock, active, most = threading.Barrier(2), threading.Lock(), 0, 0

    def work(_environ: Any, _start_response: Any) -> None:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        pair.wait(30)
        with lock:
            active -= 1

    limited = ConcurrencyLimit(work, limit=2)
    with ThreadPoolExecutor(8) as pool:
        for request in [pool.submit(limited, {"wsgi.input": io.BytesIO()}, None) for _ in range(8)]:
            request.result(60)
    assert most == 2
