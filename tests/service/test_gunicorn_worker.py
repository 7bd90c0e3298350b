"""Test the API's own gunicorn worker: idle connections, pipelined requests, and requests that are not valid HTTP."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from tests.support.api import Api, open_api

GET = b"GET /models HTTP/1.1\r\nHost: api\r\n\r\n"
# Has no API key, so it is answered before its body is read.
UNREAD = b"POST /run_detect HTTP/1.1\r\nHost: api\r\nContent-Length: 5\r\n\r\n"
SECRET = "s3cret-0123456789"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Api]:
    off = {"rate_limit": "off", "rate_limit_address": "off"}
    with open_api(tmp_path_factory.mktemp("api"), celery_broker_url=broker_url, request_seconds=20, **off) as api:
        yield api


@pytest.mark.parametrize(
    "content",
    [b"", b"GET /models HT", UNREAD, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")],
    ids=["nothing", "half a request line", "no body", "connection not closed"],
)
def test_300_silent_clients_do_not_block_others(api: Api, content: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(api.connect(content))
        assert requests.get(f"{api.address}/models", timeout=15).status_code == 200


def test_silent_clients_above_the_connection_limit_do_not_block_others(api: Api) -> None:
    silent = [api.connect(b"") for _ in range(900)]
    assert requests.get(f"{api.address}/models", timeout=15).status_code == 200
    for connection in silent:
        connection.close()


def read_answers(connection: socket.socket, number: int) -> list[bytes]:
    """Read from a connection until it has sent ``number`` JSON answers with status 200; return them."""
    found = b""
    while found.count(b"HTTP/1.1 200 OK") < number or not found.endswith(b"}\n"):
        piece = connection.recv(65536)
        assert piece, found
        found += piece
    return found.split(b"HTTP/1.1 ")[1:]


def test_a_request_sent_byte_by_byte_is_answered(api: Api) -> None:
    with api.connect(b"") as connection:
        for byte in GET:
            connection.sendall(bytes([byte]))
        assert len(read_answers(connection, 1)) == 1


def test_pipelined_requests_are_all_answered(api: Api) -> None:
    with api.connect(GET * 3 + GET[:20]) as connection:
        assert len(read_answers(connection, 3)) == 3
        connection.sendall(GET[20:])
        assert len(read_answers(connection, 1)) == 1


def test_a_kept_alive_connection_serves_several_requests(api: Api) -> None:
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{api.address}/jobs", headers=api.headers, timeout=30).status_code == 200


def test_the_client_receives_the_answer_to_an_unread_body(api: Api) -> None:
    answer = requests.post(f"{api.address}/run_detect", data=b"x" * 10_000_000, timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (400, "missing_key")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"no HTTP at all\r\n\r\n", 400, "bad_request_line"),
        (b"GET / HTTP/1.1\nHost: api\n\n", 400, "bad_request_line"),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: api\r\n\r\n", 414, "address_too_long"),
        (b"GET / HTTP/1.1\r\nHost: api\r\nX-A: " + b"a" * 10_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: api\r\n" + b"X-A: a\r\n" * 20_000 + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: api\r\nX-A\r\n\r\n", 400, "bad_header"),
        (b"GET / HTTP/1.1\r\nHost: api\r\nExpect: a miracle\r\n\r\n", 417, "expectation_failed"),
        (b"POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: x\r\n\r\n", 501, "unknown_encoding"),
    ],
)
def test_invalid_http_is_refused_with_a_message(api: Api, content: bytes, status: int, code: str) -> None:
    assert api.send(content) == [status]
    (answer,) = api.send_and_read(content)
    assert answer["code"] == code
    assert answer["message"].endswith(".")


@pytest.mark.parametrize(
    "content",
    [
        f"GET /models HTTP/1.1\r\nHost: api\r\nX-API-Key {SECRET}\r\n\r\n",
        f"GET /models HTTP/1.1\r\nHost: api\r\nX-API-Key: a\r\n {SECRET}\r\n\r\n",
        f"GET /models HTTP/1.1\r\nHost: api\r\n{SECRET} : a\r\n\r\n",
        f"GET http://user:{SECRET}@host/models HTTP/1.1\r\nHost: api\r\n\r\n",
        f"GET //user:{SECRET}@host/models HTTP/1.1\r\nHost: api\r\n\r\n",
        f"CONNECT user:{SECRET}@host:443 HTTP/1.1\r\nHost: api\r\n\r\n",
        f"GET /models?key={SECRET} HTTP/1.1\r\nHost: api\r\n\r\n",
        f"GET /models#{SECRET} HTTP/1.1\r\nHost: api\r\n\r\n",
        f"GET /models?{SECRET} HTTP/1.1 {SECRET}\r\nHost: api\r\n\r\n",
        f"{SECRET} /models HTTP/1.1\r\nHost: api\r\n\r\n",
        f"GET {SECRET} HTTP/1.1\r\nHost: api\r\n\r\n",
        f"GET / {SECRET}\r\nHost: api\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: api\r\nExpect: {SECRET}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {SECRET}@api\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: api\r\nContent-Length: {SECRET}\r\n\r\n",
        f"POST /run_detect HTTP/1.1\r\nHost: api\r\nX-API-Key: {SECRET}\r\nContent-Length: 1\r\n\r\nx",
        f"{SECRET}\r\n\r\n",
    ],
)
def test_keys_passwords_and_queries_are_not_logged(api: Api, content: str) -> None:
    before = len(api.log.read_text())
    assert api.send(content.encode())
    logged = api.log.read_text()[before:]  # the request is logged before its connection is closed
    assert "A request from 127.0.0.1 was refused" in logged or "gunicorn.access" in logged
    assert SECRET not in logged


def test_a_malformed_chunked_body_is_refused(api: Api) -> None:
    for chunks in (b"-5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"5\r\nhelloX\r\n", b"5;" + b"x" * 100_000 + b"\r\n"):
        (answer,) = api.send_and_read(api.head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert answer["code"] == "bad_request", answer
    assert json.loads(requests.get(f"{api.address}/jobs", headers=api.headers, timeout=30).text)["jobs"] == []


@pytest.mark.parametrize(
    "header", ["SCRIPT_NAME: /x", "PATH_INFO: /metrics", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"]
)
def test_proxy_headers_are_ignored_when_no_proxy_is_configured(api: Api, header: str) -> None:
    body = b"manifest_url=https://library.example/manifest.json"
    (answer,) = api.send_and_read(api.head + f"{header}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert answer["status_url"] == f"http://api/jobs/{answer['job_id']}"
