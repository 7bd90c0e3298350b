import socket
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
from app.config import Settings
from app.database.tables import QueueHeartbeat
from app.demo.service import choose_settings, find_free_port
from app.monitoring.heartbeats import QUEUES
from tests.support.broker import run_broker


@pytest.fixture
def hanging_broker() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def get(settings: Settings, path: str) -> tuple[int, dict[str, object]]:
    """Send a GET request to a new application; return the status and the JSON."""
    app = create_app(settings)
    answer = app.test_client().get(path)
    app.extensions["services"].database.close()
    return answer.status_code, dict(answer.json or {})


def set_heartbeats(app: Flask, **seconds: float) -> None:
    """Set the last heartbeat of queues, in seconds before now."""
    for queue, ago in seconds.items():
        app.extensions["services"].heartbeats.record(queue)
        with app.extensions["services"].database.session() as session:
            session.execute(update(QueueHeartbeat).where(QueueHeartbeat.queue == queue).values(at=time.time() - ago))


def test_healthz_is_200_when_database_and_broker_answer(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "database": "ok", "broker": "ok"})


def test_healthz_names_a_broker_that_is_down(settings: Settings) -> None:
    away = settings.model_copy(update={"celery_broker_url": f"redis://127.0.0.1:{find_free_port()}"})
    assert get(away, "/healthz") == (503, {"status": "not ok", "message": "The broker does not answer."})


def test_healthz_names_a_broker_that_hangs(settings: Settings, hanging_broker: str) -> None:
    hanging = settings.model_copy(update={"celery_broker_url": hanging_broker})
    assert get(hanging, "/healthz") == (503, {"status": "not ok", "message": "The broker does not answer."})


@pytest.fixture
def own_broker(tmp_path: Path, settings: Settings) -> Iterator[tuple[Settings, Redis]]:
    """A separate broker that a test may break, and settings with its URL."""
    chosen = choose_settings(tmp_path / "own", models_folder=settings.models_folder)
    with run_broker(chosen), Redis.from_url(chosen.broker_url) as broker:
        yield chosen, broker


@pytest.mark.parametrize("trouble", ["out of memory", "read-only"])
def test_a_broker_that_rejects_writes_is_named_and_jobs_are_accepted(
    own_broker: tuple[Settings, Redis], trouble: str
) -> None:
    settings, broker = own_broker
    app = create_app(settings)
    client, headers = app.test_client(), {"X-API-Key": add_app(app.extensions["services"].database, "front")}
    if trouble == "out of memory":
        broker.config_set("maxmemory", "1")
    else:
        broker.replicaof("127.0.0.1", find_free_port())
    healthz = client.get("/healthz")
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": "https://library.example/m.json"})
    assert (healthz.status_code, healthz.json["message"]) == (
        503,
        "The broker accepts no messages: it is out of memory or read-only.",
    )
    assert answer.status_code == 200
    assert client.get(f"/jobs/{answer.json['job_id']}", headers=headers).json["state"] == "queued"
    if trouble == "out of memory":
        broker.config_set("maxmemory", "0")
    else:
        broker.replicaof("no", "one")
    assert client.get("/healthz").status_code == 200
    assert client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/1"}).status_code == 200
    app.extensions["queue"].close()
    app.extensions["services"].database.close()


def test_the_probes_name_a_database_that_is_down(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    app.extensions["services"].database.close()
    (tmp_path / "data").rename(tmp_path / "gone")
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.json["message"] == "The database does not answer."


def test_readyz_is_200_when_every_queue_is_active(app: Flask, client: FlaskClient) -> None:
    set_heartbeats(app, io=1, gpu=20, post=3)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "ready")
    assert answer.json["queues"] == pytest.approx({"io": 1, "gpu": 20, "post": 3}, abs=10)


def test_readyz_names_a_silent_queue(app: Flask, client: FlaskClient) -> None:
    set_heartbeats(app, io=1, gpu=3600, post=3)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "not ready")
    assert answer.json["message"].startswith("No worker has been active on the queue gpu for 36")
    assert answer.json["message"].endswith("s: see the log of its worker.")
    assert set(answer.json["queues"]) == set(QUEUES)


def test_readyz_names_a_queue_without_any_heartbeat(app: Flask, client: FlaskClient) -> None:
    set_heartbeats(app, io=1, gpu=1)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["message"] == "No worker has been active on the queue post yet: see the log of its worker."
    assert answer.json["queues"]["post"] is None


def test_readyz_also_names_the_schedule_when_every_queue_is_silent(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.json["message"] == (
        "No worker has been active on the queues io, gpu, post yet: see the logs of their workers and of the schedule."
    )
