"""The client of the manual, ``docs/client.py``: the receiver of signed events."""

import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from app.delivery.payloads import build_headers, format_event, make_secret
from tests.support.manual import import_client


@pytest.fixture(scope="module")
def client() -> SimpleNamespace:
    """The client, imported."""
    return import_client()


def post_event(client: SimpleNamespace, headers: dict[str, str], body: bytes, secret: str) -> tuple[int, Any]:
    """Send an event to the receiver of the client; return the status and the jobs that have finished for it."""
    with client.EventReceiver(0, secret) as receiver:
        thread = threading.Thread(target=receiver.handle_request)
        thread.start()
        answer = requests.post(f"http://127.0.0.1:{receiver.server_port}", data=body, headers=headers, timeout=10)
        thread.join()
        return answer.status_code, receiver.finished


def test_the_client_accepts_signed_events_only(client: SimpleNamespace) -> None:
    secret, job = make_secret(), {"job_id": "1", "state": "done"}
    body = format_event("job.done", "2026-01-02T03:04:05Z", job).encode()
    now = int(time.time())
    assert post_event(client, build_headers("message", body, now, secret), body, secret) == (204, {"1": job})
    for headers in (
        build_headers("message", body, now, None),
        build_headers("message", body, now, make_secret()),
        build_headers("message", body, now - 310, secret),
        build_headers("message", body + b" ", now, secret),
    ):
        assert post_event(client, headers, body, secret) == (403, {})


def test_the_client_ignores_events_of_a_job_at_work(client: SimpleNamespace) -> None:
    secret = make_secret()
    body = json.dumps({"type": "job.progress", "data": {"job_id": "1", "state": "running"}}).encode()
    headers = build_headers("message", body, int(time.time()), secret)
    assert post_event(client, headers, body, secret) == (204, {})
