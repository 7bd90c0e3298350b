"""What the tests share: a real broker on loopback, an application with a database of its own, a client app's key."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.auth import add_app
from app.config import ROOT, Settings
from app.demo.client_app import ClientApp, serve
from app.demo.service import build_environment, choose_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine reaches a test."""
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real broker for the whole run."""
    settings = choose_settings(tmp_path_factory.mktemp("broker"))
    command = [sys.executable, "-m", "app.broker", "serve"]
    with subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for_broker(settings.broker_url)
        yield settings.broker_url
        process.terminate()


def wait_for_broker(url: str) -> None:
    # The client's own retries, with growing waits, until the server listens.
    retry = redis.retry.Retry(redis.backoff.ExponentialBackoff(cap=0.5, base=0.01), retries=60)
    with redis.Redis.from_url(url, retry=retry, retry_on_error=[redis.ConnectionError]) as client:
        client.ping()


@pytest.fixture
def settings(tmp_path: Path, broker_url: str) -> Settings:
    models = tmp_path / "models"
    models.mkdir()
    (models / "illustrations.pt").write_bytes(b"not looked at by the web process")
    return choose_settings(tmp_path / "data", celery_broker_url=broker_url, models_folder=models)


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings)
    yield app
    with redis.Redis.from_url(settings.broker_url) as client:
        client.flushdb()
    app.extensions["queue"].close()
    app.extensions["database"].dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def headers(app: Flask) -> dict[str, str]:
    return {"X-API-Key": add_app(app.extensions["database"], "front")}


@pytest.fixture
def client_app() -> Iterator[tuple[ClientApp, str]]:
    """A client app that records what it receives, and its address."""
    receiver = ClientApp()
    with serve(receiver.create_app()) as url:
        yield receiver, url
