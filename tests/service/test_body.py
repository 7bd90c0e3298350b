"""Send oversized, incomplete and slow request bodies to a real server."""

import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.api import Api, open_api

ADDRESS = b"manifest_url=https://library.example/manifest.json"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Api]:
    """The API under gunicorn, with small limits."""
    folder = tmp_path_factory.mktemp("api")
    with open_api(folder, celery_broker_url=broker_url, max_request_mb=1, request_seconds=2) as api:
        yield api


def split(body: bytes) -> Iterator[bytes]:
    """Yield a body in pieces: requests then sends it chunked, without a Content-Length."""
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_a_body_over_the_limit_is_answered_with_413_and_a_message(api: Api, kind: str, chunked: bool) -> None:
    jobs, body = api.count_jobs(), ADDRESS + b"&experiment_id=" + b"x" * 2_000_000
    if kind.startswith("multipart"):
        part = b'--b\r\nContent-Disposition: form-data; name="url_file"; filename="x"\r\n\r\n'
        body = part + b"https://a.example/1\n" * 100_000 + b"\r\n--b--\r\n"
    answer = requests.post(
        f"{api.address}/{'run_detect' if kind.endswith('encoded') else 'detect_all'}",
        headers=api.headers | {"Content-Type": kind},
        data=split(body) if chunked else body,
        timeout=30,
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "1 MB (MAX_REQUEST_MB)" in answer.json()["message"]
    assert api.count_jobs() == jobs


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 300\r\n\r\n" + ADDRESS,
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(ADDRESS) + ADDRESS + b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + ADDRESS,
    ],
)
def test_an_incomplete_body_is_answered_with_400(api: Api, rest: bytes) -> None:
    jobs = api.count_jobs()
    assert api.send(api.head + rest) == [400]
    assert api.count_jobs() == jobs


def test_a_chunked_body_is_read(api: Api) -> None:
    headers = api.headers | {"Content-Type": "application/x-www-form-urlencoded"}
    job = requests.post(f"{api.address}/run_detect", headers=headers, data=split(ADDRESS), timeout=30).json()
    requests.post(f"{job['status_url']}/cancel", headers=api.headers, timeout=30)
    shown = requests.get(job["status_url"], headers=api.headers, timeout=30).json()
    assert shown["manifest_url"] == "https://library.example/manifest.json"


@pytest.mark.parametrize("in_body", [False, True], ids=["in the headers", "in the body"])
def test_clients_that_send_slowly_do_not_hold_all_threads(api: Api, in_body: bool) -> None:
    headers = b"GET /models HTTP/1.1\r\nHost: api\r\nX-"
    content = api.head + b"Content-Length: 99999\r\n\r\nm" if in_body else headers
    slow = [api.connect(content) for _ in range(32)]
    end = time.monotonic() + 60
    while slow:
        assert time.monotonic() < end, f"{len(slow)} connections are still held."
        for connection in list(slow):
            try:
                connection.sendall(b"a")
            except OSError:  # the server closed the connection
                connection.close()
                slow.remove(connection)
        time.sleep(0.2)
    assert requests.get(f"{api.address}/models", timeout=30).status_code == 200
