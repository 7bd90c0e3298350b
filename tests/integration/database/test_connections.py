"""Outages of the database: requests fail with a message, and succeed again afterwards."""

import logging
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, text
from werkzeug.test import TestResponse

from app.config import Settings
from app.database.connections import WORKER_SECONDS, wait_at_most
from app.database.sessions import CircuitBreaker, Database
from app.database.tables import Job
from app.demo.service import build_environment, find_free_port
from app.errors import DatabaseUnavailable
from app.server import middleware

MANIFEST = "https://library.example/manifest.json"


@pytest.fixture
def file(app: Flask) -> Path:
    return Path(app.extensions["services"].database.engine.url.database)


@pytest.fixture
def send(client: FlaskClient, headers: dict[str, str]) -> Callable[[], TestResponse]:
    return lambda: client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST})


def assert_unavailable(answer: TestResponse) -> None:
    assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
    assert answer.json["message"].endswith("try again later.")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("content", [b"garbage" * 10_000, b""])
def test_a_damaged_database_file_is_503(
    app: Flask, client: FlaskClient, headers: dict[str, str], file: Path, content: bytes
) -> None:
    app.extensions["services"].database.close()
    file.write_bytes(content)
    assert_unavailable(client.get("/jobs", headers=headers))
    assert client.get("/healthz").json["message"] == "The database does not answer."


def test_routes_without_the_database_answer_during_an_outage(
    app: Flask, client: FlaskClient, headers: dict[str, str], file: Path
) -> None:
    app.extensions["services"].database.close()
    file.write_bytes(b"garbage" * 10_000)
    assert client.get("/models", headers=headers).status_code == 200
    assert "extractor_database_up 0.0" in client.get("/metrics").text
    assert client.get("/readyz").json["message"] == "The database does not answer."


def test_a_damaged_database_file_is_reported_at_start(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"garbage" * 10_000)
    with pytest.raises(DatabaseUnavailable):
        Database(f"sqlite:///{tmp_path}/x.db").upgrade()


def test_a_deleted_database_file_is_503_until_it_is_restored(
    client: FlaskClient, file: Path, send: Callable[[], TestResponse], headers: dict[str, str]
) -> None:
    with closing(sqlite3.connect(file)) as connection, closing(sqlite3.connect(file.with_name("backup.db"))) as backup:
        connection.backup(backup)
    for path in file.parent.glob("service.db*"):
        path.unlink()
    assert_unavailable(send())
    assert_unavailable(client.get("/jobs", headers=headers))
    assert not file.exists(), "the deleted file was replaced by an empty one"
    shutil.copy(file.with_name("backup.db"), file)
    job = send().json
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT id FROM jobs").fetchall() == [(job["job_id"],)]


def test_a_locked_database_file_can_be_read_and_is_503_for_writes(
    client: FlaskClient,
    file: Path,
    send: Callable[[], TestResponse],
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(middleware, "DATABASE_SECONDS", 0.2)
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert_unavailable(send())
        assert client.get("/jobs", headers=headers).json == {"jobs": []}
        other.rollback()
    assert send().status_code == 200


def test_a_full_disk_is_503(
    app: Flask, client: FlaskClient, send: Callable[[], TestResponse], headers: dict[str, str]
) -> None:
    database = app.extensions["services"].database
    database.close()
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=1"))
    accepted, answer = 0, send()
    while answer.status_code == 200:
        accepted, answer = accepted + 1, send()
    assert_unavailable(answer)
    assert len(client.get("/jobs?limit=1000", headers=headers).json["jobs"]) == accepted


def test_an_invalid_statement_is_500_and_no_outage(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    database = app.extensions["services"].database

    @app.get("/twice")
    def twice() -> None:
        with database.session() as session:
            session.execute(text("INSERT INTO queue_heartbeats VALUES ('io', 1), ('io', 2)"))

    @app.get("/nonsense")
    def nonsense() -> None:
        with database.session() as session:
            session.execute(text("SELECT nothing FROM jobs"))

    for path in ("/twice", "/nonsense"):
        assert client.get(path, headers=headers).status_code == 500


def test_the_log_has_the_reason_of_an_outage_without_written_values(
    app: Flask, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(id="x", app_id=1, kind="detection", request={"callback": "https://app.example/?token=s3cret"})
    with closing(sqlite3.connect(file)) as other, caplog.at_level(logging.ERROR), wait_at_most(0.1):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable) as caught, app.extensions["services"].database.session() as session:
            session.add(job)
        other.rollback()
    assert [record.getMessage() for record in caplog.records] == ["The database cannot be used: database is locked"]
    assert "s3cret" not in str(caught.value.__cause__)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql+psycopg://x:s3cret@127.0.0.1:{server.getsockname()[1]}/x"


@pytest.mark.timeout(60)
def test_a_silent_server_is_an_outage_after_the_time_limit(
    silent_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(silent_server)
    with pytest.raises(DatabaseUnavailable), wait_at_most(1), database.session() as session:
        session.execute(text("SELECT 1"))
    with pytest.raises(DatabaseUnavailable):
        database.upgrade()
    assert "s3cret" not in caplog.text


def test_only_one_request_at_a_time_tries_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.database.sessions.HANGS_SECONDS", 0)
    breaker = CircuitBreaker()

    def enter(limit: float) -> None:
        with wait_at_most(limit), breaker.guard():
            pass

    with pytest.raises(DatabaseUnavailable), breaker.guard():
        raise DatabaseUnavailable("It hangs.")
    with ThreadPoolExecutor(1) as executor, wait_at_most(10), breaker.guard():
        assert isinstance(executor.submit(enter, 10).exception(), DatabaseUnavailable)
        enter(10)  # within the request that tries the server
        executor.submit(enter, WORKER_SECONDS).result()
    enter(10)


def test_a_worker_waits_longer_than_a_request() -> None:
    assert WORKER_SECONDS > middleware.DATABASE_SECONDS


def test_a_missing_database_server_is_reported_at_start(settings: Settings) -> None:
    away = f"postgresql+psycopg://x:s3cret@127.0.0.1:{find_free_port()}/x"
    environment = build_environment(settings.model_copy(update={"database_url": away}))
    command = [sys.executable, "-c", "from app.app import app"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "The database cannot be used now" in run.stderr
    assert "Traceback" not in run.stderr
    assert "s3cret" not in run.stderr
