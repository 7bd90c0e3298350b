import json
import logging
import re
import socket
from collections.abc import Iterator

import pytest
from flask import Flask

from app.server.request_log import DevelopmentHandler
from tests.conftest import serve_on_loopback

SECRET = "s3cret-0123456789"


@pytest.fixture
def port(app: Flask) -> Iterator[int]:
    with serve_on_loopback(app, request_handler=DevelopmentHandler) as port:
        yield port


@pytest.mark.parametrize(
    ("line", "logged"),
    [
        (f"GET /jobs?key={SECRET} HTTP/1.1", "GET /jobs 400"),
        (f"GET http://user:{SECRET}@host/jobs HTTP/1.1", "GET /jobs 400"),
        (f"GET /models {SECRET}", "refused: 400"),
        (f"GET / {SECRET} HTTP/1.1", "refused: 400"),
        (f"GET /models?{SECRET} HTTP/9.9", "refused: 505"),
        (f"GET /{'a' * 70_000}?{SECRET} HTTP/1.1", "refused: 414"),
        (f"X-API-Key {SECRET} HTTP/1.1", "X-API-Key - "),
    ],
)
def test_the_development_server_logs_no_query_and_answers_in_json(
    port: int, caplog: pytest.LogCaptureFixture, line: str, logged: str
) -> None:
    with caplog.at_level(logging.INFO), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{line}\r\nHost: api\r\nConnection: close\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read().decode()
    assert SECRET not in caplog.text
    assert logged in caplog.text
    assert re.match(r"HTTP/1\.\d [45]\d\d ", answer)
    assert json.loads(answer.partition("\r\n\r\n")[2])["message"].endswith((".", "?"))
