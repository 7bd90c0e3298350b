"""Authentication and rate limits, which apply to every view."""

import io
import re
import socket
import threading
from collections.abc import Iterator

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.auth import add_app, revoke_app
from app.config import Settings
from app.demo.service import find_free_port
from app.routes.openapi import list_api_rules

OPEN = {"/models", "/models/<name>", "/models/default", "/openapi.json", "/healthz", "/readyz", "/metrics"}
MANIFEST = {"manifest_url": "https://library.example/manifest.json"}


def get(client: FlaskClient, key: str | None = None, path: str = "/jobs", **options: str) -> TestResponse:
    return client.get(path, headers={} if key is None else {"X-API-Key": key}, environ_overrides=options)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"rate_limit": "5/hour", "rate_limit_address": "3/hour", "proxies": 1})


@pytest.fixture
def key(headers: dict[str, str]) -> str:
    return headers["X-API-Key"]


def test_every_route_that_is_not_open_needs_a_key(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"rate_limit_address": "off"}))
    database = app.extensions["services"].database
    revoked = add_app(database, "gone")
    revoke_app(database, "gone")
    client = app.test_client()
    for rule in list_api_rules(app):
        path = rule.rule.replace("<job_id>", "x").replace("<name>", "illustrations")
        path = re.sub(r"<any\((\w+).*?\):\w+>", r"\1", path)
        for method in rule.methods or ():
            if rule.rule in OPEN:
                assert client.open(path, method=method).status_code in (200, 503)
                continue
            missing = client.open(path, method=method)
            wrong = [client.open(path, method=method, headers={"X-API-Key": key}) for key in ("no", revoked)]
            assert [answer.status_code for answer in (missing, *wrong)] == [400, 403, 403], (method, path)
            if method != "HEAD":
                assert "X-API-Key" in missing.json["message"]
                assert all("key" in answer.json["message"] for answer in wrong)
    database.close()


def test_a_new_view_needs_a_key(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/new", view_func=lambda: "open")
    assert get(client, path="/new").status_code == 400


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("OPTIONS", "/jobs", 405)])
def test_unknown_urls_and_methods_need_no_key(client: FlaskClient, method: str, path: str, status: int) -> None:
    assert client.open(path, method=method).status_code == status


def test_a_client_app_over_its_limit_gets_429_with_retry_after(client: FlaskClient, key: str) -> None:
    assert [get(client, key).status_code for _ in range(6)] == [200] * 5 + [429]
    answer = get(client, key, path="/models")
    assert (answer.status_code, answer.json["code"]) == (429, "too_many_requests")
    assert "5 per 1 hour" in answer.json["message"]
    assert 3500 < int(answer.headers["Retry-After"]) <= 3601


def test_client_apps_have_separate_limits(app: Flask, client: FlaskClient, key: str) -> None:
    other = add_app(app.extensions["services"].database, "other")
    assert [get(client, key).status_code for _ in range(6)][-1] == 429
    assert get(client, other).status_code == 200


def test_guessed_keys_are_counted_per_address(client: FlaskClient, key: str) -> None:
    assert [get(client, f"guess {n}").status_code for n in range(5)] == [403] * 3 + [429] * 2
    assert get(client).status_code == 429
    assert get(client, "guess", REMOTE_ADDR="192.0.2.7").status_code == 403
    assert get(client, key).status_code == 200, "requests without a key must not use up the limit of a key"


def test_addresses_of_an_ipv6_network_share_a_limit(client: FlaskClient) -> None:
    statuses = [get(client, "guess", REMOTE_ADDR=f"2001:db8::{n}").status_code for n in range(1, 5)]
    assert statuses == [403, 403, 403, 429]
    assert get(client, "guess", REMOTE_ADDR="2001:db8:0:1::1").status_code == 403


def test_clients_behind_a_proxy_have_separate_limits(client: FlaskClient) -> None:
    def guess(forwarded: str) -> int:
        return client.get("/jobs", headers={"X-API-Key": "guess", "X-Forwarded-For": forwarded}).status_code

    # Addresses that the client sent come before the address that the proxy adds, and are ignored.
    assert [guess(f"10.0.0.{n}, 192.0.2.1") for n in range(4)] == [403, 403, 403, 429]
    assert guess("192.0.2.2") == 403


def test_urls_use_the_scheme_of_the_proxy_and_the_host_of_the_request(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    forwarded = {"Host": "api.example", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    answer = client.post("/run_detect", headers=headers | forwarded, data=MANIFEST)
    assert answer.json["status_url"].startswith("https://api.example/jobs/")


PREFIX = {"X-Forwarded-Prefix": "/extractor/"}


def test_every_url_in_a_response_contains_the_path_of_the_proxy(
    app: Flask, client: FlaskClient, headers: dict[str, str]
) -> None:
    answer = client.post("/run_detect", headers=headers | PREFIX, data=MANIFEST).json
    assert answer["status_url"] == f"http://localhost/extractor/jobs/{answer['job_id']}"
    listed = {"url_file": (io.BytesIO(MANIFEST["manifest_url"].encode()), "list.txt")}
    answer = client.post("/detect_all", headers=headers | PREFIX, data=listed).json
    assert answer["jobs"][0]["status_url"] == f"http://localhost/extractor/jobs/{answer['job_id']}"
    results = app.extensions["services"].storage.job(answer["job_id"]).results
    results.mkdir(parents=True)
    (results / "curve.png").write_bytes(b"picture")
    path = f"/jobs/{answer['job_id']}/files"
    assert client.get(path, headers=headers | PREFIX).json["files"][0]["url"] == f"/extractor{path}/curve.png"
    assert client.get("/openapi.json", headers=PREFIX).json["servers"] == [{"url": "/extractor"}]
    assert client.get("/openapi.json").json["servers"] == [{"url": "/"}]


def test_without_a_proxy_forwarded_headers_are_ignored(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"proxies": 0}))
    headers = {"X-API-Key": add_app(app.extensions["services"].database, "front")}
    forwarded = {"Prefix": "/x", "Host": "evil.example", "Port": "99", "Proto": "https"}
    headers |= {f"X-Forwarded-{name}": value for name, value in forwarded.items()}
    answer = app.test_client().post("/run_detect", headers=headers, data=MANIFEST).json
    assert answer["status_url"] == f"http://localhost/jobs/{answer['job_id']}"
    app.extensions["services"].database.close()


def test_without_a_proxy_forwarded_addresses_are_ignored(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"proxies": 0}))
    forwarded = [{"X-API-Key": "guess", "X-Forwarded-For": f"192.0.2.{n}"} for n in range(4)]
    statuses = [app.test_client().get("/jobs", headers=each).status_code for each in forwarded]
    assert statuses == [403, 403, 403, 429]
    app.extensions["services"].database.close()


def test_all_processes_share_the_limit(settings: Settings, app: Flask, client: FlaskClient, key: str) -> None:
    second = create_app(settings)
    assert [get(client, key).status_code for _ in range(5)] == [200] * 5
    assert get(second.test_client(), key).status_code == 429
    second.extensions["services"].database.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.mark.timeout(20)  # the documented delay is two seconds; bench/submit_latency.py measures it
@pytest.mark.parametrize("away", ["dead", "silent"])
def test_without_a_broker_requests_are_counted_in_memory(settings: Settings, silent_port: int, away: str) -> None:
    port = silent_port if away == "silent" else find_free_port()
    app = create_app(settings.model_copy(update={"celery_broker_url": f"redis://127.0.0.1:{port}"}))
    headers = {"X-API-Key": add_app(app.extensions["services"].database, "front")}
    client = app.test_client()
    answer = client.post("/run_detect", headers=headers, data=MANIFEST)
    assert answer.status_code == 200
    assert [job["job_id"] for job in client.get("/jobs", headers=headers).json["jobs"]] == [answer.json["job_id"]]
    assert [client.get("/jobs", headers=headers).status_code for _ in range(4)] == [200] * 3 + [429]
    app.extensions["services"].database.close()


def test_concurrent_requests_are_answered_when_the_broker_hangs(settings: Settings, silent_port: int) -> None:
    app = create_app(settings.model_copy(update={"celery_broker_url": f"redis://127.0.0.1:{silent_port}"}))
    key, statuses = add_app(app.extensions["services"].database, "front"), []
    threads = [
        threading.Thread(target=lambda: statuses.append(get(app.test_client(), key).status_code)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 5
    app.extensions["services"].database.close()


def test_off_disables_the_limits(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"rate_limit": "off", "rate_limit_address": "off"}))
    assert {get(app.test_client(), "guess").status_code for _ in range(20)} == {403}
    with redis.Redis.from_url(settings.broker_url) as broker:
        assert broker.keys("LIMITS*") == []
    app.extensions["services"].database.close()
