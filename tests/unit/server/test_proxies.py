"""The public address of the API, from the headers of proxies. URLs in responses begin with it."""

import pytest
from gunicorn.http.errors import ConfigurationProblem
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from app.server.gunicorn_worker import ErrorResponse
from app.server.proxies import TrustedProxies, read_prefix

HOST = {"Host": "api.example"}
REPLACED = {"Host": "127.0.0.1:5000"}


@Request.application
def show_address(request: Request) -> Response:
    return Response(request.root_url)


def find_address(headers: dict[str, str], count: int = 1, script_name: str = "") -> str:
    client = Client(TrustedProxies(show_address, count))
    return client.get("/", headers=headers, environ_overrides={"SCRIPT_NAME": script_name}).text


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("/extractor", "http://api.example/extractor/"),
        ("/extractor/", "http://api.example/extractor/"),
        ("/tools/extractor_1.0", "http://api.example/tools/extractor_1.0/"),
        ("/from-the-client, /extractor", "http://api.example/extractor/"),
        ("/", "http://api.example/"),
        ("", "http://api.example/"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_the_path_of_the_api_comes_from_the_proxy(prefix: str, address: str, count: int) -> None:
    assert find_address(HOST | {"X-Forwarded-Prefix": prefix}, count) == address


@pytest.mark.parametrize(
    "prefix",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "extractor",
        "/a/../b",
        "/a//b",
        "/a b",
        "/a?b",
        "/a#b",
        "/\u00e9",
    ],
)
def test_a_hostile_path_is_ignored(prefix: str) -> None:
    assert find_address(HOST | {"X-Forwarded-Prefix": prefix}) == "http://api.example/"


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (HOST | {"X-Forwarded-Proto": "https"}, "https://api.example/"),
        (HOST | {"X-Forwarded-Proto": "HTTPS"}, "https://api.example/"),
        (HOST | {"X-Forwarded-Proto": "javascript"}, "http://api.example/"),
        (HOST | {"X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "99"}, "http://api.example/"),
        ({"Host": "api.example:8443", "X-Forwarded-Proto": "https"}, "https://api.example:8443/"),
        (REPLACED | {"X-Forwarded-Host": "api.example"}, "http://api.example/"),
        (REPLACED | {"X-Forwarded-Host": "evil.example, api.example:81"}, "http://api.example:81/"),
        (REPLACED | {"X-Forwarded-Host": "api.example", "X-Forwarded-Port": "8080"}, "http://api.example:8080/"),
        (REPLACED | {"X-Forwarded-Host": "api.example:81", "X-Forwarded-Port": "8080"}, "http://api.example:81/"),
        ({"Host": "[::1]:5000", "X-Forwarded-Host": "[2001:db8::1]"}, "http://[2001:db8::1]/"),
        (REPLACED | {"X-Forwarded-Host": "a@b/c", "X-Forwarded-Port": "x"}, "http://127.0.0.1:5000/"),
    ],
)
def test_scheme_host_and_port_come_from_the_proxy(headers: dict[str, str], address: str) -> None:
    assert find_address(headers) == address


def test_the_usual_port_of_https_is_left_out() -> None:
    headers = REPLACED | {"X-Forwarded-Host": "api.example", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https"}
    assert find_address(headers) == "https://api.example/"


def test_the_script_name_of_the_server_is_kept() -> None:
    assert find_address(HOST, script_name="/extractor") == "http://api.example/extractor/"


@pytest.mark.parametrize(("text", "path"), [("/extractor/", "/extractor"), ("extractor", ""), ("//evil", ""), ("", "")])
def test_a_script_name_must_be_a_path(text: str, path: str) -> None:
    assert read_prefix(text) == path


def test_a_path_outside_the_script_name_does_not_exist() -> None:
    assert ErrorResponse.of(ConfigurationProblem("Request path /x does not start with SCRIPT_NAME")).status == 404
