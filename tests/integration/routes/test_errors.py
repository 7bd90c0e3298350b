import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.config import Settings


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/run_detect", 405), ("PUT", "/models", 405), ("POST", "/jobs", 405)],
)
def test_http_errors_are_json(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.json["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/run_detect", "POST"), ("PUT", "/models", "GET"), ("POST", "/datasets/x", "DELETE")],
)
def test_a_wrong_method_is_answered_with_the_right_one(
    client: FlaskClient, headers: dict[str, str], method: str, path: str, allowed: str
) -> None:
    answer = client.open(path, method=method, headers=headers)
    assert answer.status_code == 405
    assert answer.json["message"] == f"The method {method} is not allowed at this URL: use {allowed}."
    assert allowed in answer.headers["Allow"].split(", ")


def test_an_internal_error_shows_no_details(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    @app.get("/broken")
    def broken() -> None:
        raise KeyError("secret")

    answer = client.get("/broken", headers=headers)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_body_over_the_limit_is_413(client: FlaskClient, headers: dict[str, str], settings: Settings) -> None:
    body = "x" * int(settings.max_request_mb * 1e6)
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": body})
    assert answer.status_code == 413
    assert "16 MB" in answer.json["message"]


@pytest.mark.parametrize("host", ["a b", "[::1", "a/b"])
def test_a_malformed_host_is_400(client: FlaskClient, headers: dict[str, str], host: str) -> None:
    answer = client.get("/jobs", headers=headers | {"Host": host})
    assert answer.status_code == 400


def test_a_large_form_field_is_validated(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/" + "x" * 600_000})
    assert answer.status_code == 400
    assert answer.json["message"] == "manifest_url is longer than 4096 characters."
