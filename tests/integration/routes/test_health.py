import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy import update

from app import create_app
from app.auth import add_app
from app.config import ROOT, Settings
from app.database.tables import QueueHeartbeat
from app.demo.service import build_environment, choose_settings, find_free_port
from app.monitoring.heartbeats import QUEUES
from tests.conftest import wait_for_broker


@pytest.fixture
def hanging_broker() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def ask(settings: Settings, path: str) -> tuple[int, dict[str, object]]:
    """Ask an application of its own."""
    app = create_app(settings)
    answer = app.test_client().get(path)
    app.extensions["services"].database.close()
    return answer.status_code, dict(answer.json or {})


def set_pulses(app: Flask, **seconds: float) -> None:
    """Let queues have shown a sign of life so many seconds ago."""
    for queue, ago in seconds.items():
        app.extensions["services"].heartbeats.record(queue)
        with app.extensions["services"].database.session() as session:
            session.execute(update(QueueHeartbeat).where(QueueHeartbeat.queue == queue).values(at=time.time() - ago))


def test_a_service_whose_database_and_broker_answer_is_healthy(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "database": "ok", "broker": "ok"})


def test_a_broker_that_is_away_is_named(settings: Settings) -> None:
    away = settings.model_copy(update={"celery_broker_url": f"redis://127.0.0.1:{find_free_port()}"})
    assert ask(away, "/healthz") == (503, {"status": "not ok", "message": "The broker does not answer."})


def test_a_broker_that_hangs_is_named(settings: Settings, hanging_broker: str) -> None:
    hanging = settings.model_copy(update={"celery_broker_url": hanging_broker})
    assert ask(hanging, "/healthz") == (503, {"status": "not ok", "message": "The broker does not answer."})


@pytest.fixture
def own_broker(tmp_path: Path, settings: Settings) -> Iterator[tuple[Settings, Redis]]:
    """A broker that may be spoilt, and settings that name it."""
    chosen = choose_settings(tmp_path / "own", models_folder=settings.models_folder)
    command = [sys.executable, "-m", "app.workers.broker", "serve"]
    with subprocess.Popen(command, env=build_environment(chosen), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for_broker(chosen.broker_url)
        with Redis.from_url(chosen.broker_url) as broker:
            yield chosen, broker
        process.terminate()


@pytest.mark.parametrize("trouble", ["full", "a copy"])
def test_a_broker_that_takes_nothing_is_named_and_jobs_are_accepted(
    own_broker: tuple[Settings, Redis], trouble: str
) -> None:
    settings, broker = own_broker
    app = create_app(settings)
    client, headers = app.test_client(), {"X-API-Key": add_app(app.extensions["services"].database, "front")}
    if trouble == "full":
        broker.config_set("maxmemory", "1")
    else:
        broker.replicaof("127.0.0.1", find_free_port())
    healthz = client.get("/healthz")
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": "https://library.example/m.json"})
    assert (healthz.status_code, healthz.json["message"]) == (
        503,
        "The broker takes no messages: it is full, or can only be read.",
    )
    assert answer.status_code == 200
    assert client.get(f"/jobs/{answer.json['job_id']}", headers=headers).json["state"] == "queued"
    if trouble == "full":
        broker.config_set("maxmemory", "0")
    else:
        broker.replicaof("no", "one")
    assert client.get("/healthz").status_code == 200
    assert client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/1"}).status_code == 200
    app.extensions["queue"].close()
    app.extensions["services"].database.close()


def test_a_database_that_is_away_is_named(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    app.extensions["services"].database.close()
    (tmp_path / "data").rename(tmp_path / "gone")
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.json["message"] == "The database does not answer."


def test_a_service_through_whose_queues_something_came_is_ready(app: Flask, client: FlaskClient) -> None:
    set_pulses(app, io=1, gpu=20, post=3)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "ready")
    assert answer.json["queues"] == pytest.approx({"io": 1, "gpu": 20, "post": 3}, abs=10)


def test_a_silent_queue_is_named(app: Flask, client: FlaskClient) -> None:
    set_pulses(app, io=1, gpu=3600, post=3)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "not ready")
    assert answer.json["message"].startswith("Nothing has come through the queue gpu for 36")
    assert answer.json["message"].endswith("s: see the log of its worker.")
    assert set(answer.json["queues"]) == set(QUEUES)


def test_a_queue_through_which_nothing_ever_came_is_named(app: Flask, client: FlaskClient) -> None:
    set_pulses(app, io=1, gpu=1)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["message"] == "Nothing has come through the queue post yet: see the log of its worker."
    assert answer.json["queues"]["post"] is None


def test_when_every_queue_is_silent_the_schedule_is_named_too(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.json["message"] == (
        "Nothing has come through the queues io, gpu, post yet: see the logs of their workers and of the schedule."
    )
