"""Send requests that hide a second request to gunicorn, configured as in production."""

from collections.abc import Iterator

import pytest

from tests.support.api import Api, open_api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Api]:
    with open_api(tmp_path_factory.mktemp("api"), celery_broker_url=broker_url, request_seconds=5) as api:
        yield api


HIDDEN = b"GET /models HTTP/1.1\r\nHost: api\r\n\r\n"
GET = b"GET /models HTTP/1.1\r\nHost: api\r\n"
POST = b"POST /run_detect HTTP/1.1\r\nHost: api\r\n"
LENGTH, CHUNKED = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"

# Requests that contain a second request, or that servers parse differently. The hidden request must never be served.
SMUGGLED = {
    "a length and chunks": POST + LENGTH + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "chunks and a length": POST + CHUNKED + LENGTH + b"\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": POST + LENGTH + b"Content-Length: 0\r\n\r\n" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 5, 0\r\n\r\n" + HIDDEN,
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n" + HIDDEN,
    "a negative length": POST + b"Content-Length: -5\r\n\r\n" + HIDDEN,
    "a length in hexadecimal": POST + b"Content-Length: 0x5\r\n\r\n" + HIDDEN,
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n" + HIDDEN,
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN,
    "chunks twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "chunks before another encoding": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a tab before the encoding": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded line": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a chunk of a negative size": POST + CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n" + HIDDEN,
    "a chunk of an endless size": POST + CHUNKED + b"\r\n" + b"f" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
    "NUL in a header": GET + b"X-A: a\x00b\r\n\r\n",
    "a line feed in a header": GET + b"X-A: a\rX-B: b\r\n\r\n",
    "a header without a name": GET + b": x\r\n\r\n",
    "a header name that is not ASCII": GET + b"X-\xff: x\r\n\r\n",
    "a header of 100 kB": GET + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
    "500 headers": GET + b"".join(b"X-%d: 1\r\n" % number for number in range(500)) + b"\r\n",
    "two hosts": GET + b"Host: other\r\n\r\n",
    "a long address": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: api\r\n\r\n",
    "an invalid version": b"GET /models HTTP/9.9\r\nHost: api\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "an invalid method": b"G\xffT /models HTTP/1.1\r\nHost: api\r\n\r\n",
}


@pytest.mark.parametrize("content", SMUGGLED.values(), ids=SMUGGLED)
def test_an_ambiguous_request_is_refused(api: Api, content: bytes) -> None:
    statuses = api.send(content)
    assert statuses
    assert all(400 <= status < 500 or status in (501, 505) for status in statuses), statuses
    assert api.count_jobs() == 0
    for answer in api.send_and_read(content):
        assert answer["message"].endswith(".")
        assert answer["code"]
