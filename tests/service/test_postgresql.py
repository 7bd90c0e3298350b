"""On a real PostgreSQL: the service works, and one that hangs holds nobody."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from sqlalchemy import event, text

from app.config import ROOT
from app.database.connections import wait_at_most
from app.database.sessions import Database
from app.demo.service import find_free_port
from app.errors import DatabaseUnavailable
from app.jobs import DetectionRequest, Jobs, State
from app.jobs.states import DOWNLOAD
from tests.support.api import Api, open_api
from tests.support.recording_queue import RecordingQueue
from tests.support.schema import find_differences

MANIFEST = {"manifest_url": "https://library.example/manifest.json"}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[psutil.Process, str]]:
    """A server of its own, and its address."""
    initdb = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if initdb is None:
        pytest.skip("needs PostgreSQL: sudo apt-get install postgresql")
    user: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}  # it refuses to be run by root
    folder, port = Path(tempfile.mkdtemp(prefix="postgresql-")), find_free_port()
    if user:
        shutil.chown(folder, "postgres")
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
    subprocess.run([initdb, "-D", folder / "data", "-U", "x", "-A", "trust"], check=True, **quiet)
    program = Path(initdb).with_name("postgres")
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    with subprocess.Popen([program, "-D", folder / "data", *options], **quiet) as process:
        url = f"postgresql+psycopg://x@127.0.0.1:{port}/postgres"
        wait_for(url)
        yield psutil.Process(process.pid), url
        process.send_signal(signal.SIGINT)
    shutil.rmtree(folder)


def wait_for(url: str) -> None:
    database = Database(url)
    for _ in range(600):
        try:
            with database.session() as session:
                session.execute(text("SELECT 1"))
            break
        except DatabaseUnavailable:
            time.sleep(0.1)
    database.close()


@contextmanager
def stopped(server: psutil.Process) -> Iterator[None]:
    """Let a server and all its processes take connections and say nothing."""
    processes = [server, *server.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@pytest.fixture(scope="module")
def api(server: tuple[psutil.Process, str], broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with open_api(tmp_path_factory.mktemp("api"), celery_broker_url=broker_url, database_url=server[1]) as api:
        yield api


def post(api: Api) -> requests.Response:
    return requests.post(f"{api.address}/run_detect", headers=api.headers, data=MANIFEST, timeout=30)


@pytest.fixture
def database(server: tuple[psutil.Process, str]) -> Iterator[Database]:
    """A database without tables."""
    database = Database(server[1])
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    yield database
    database.close()


def test_the_migrated_schema_is_that_of_the_tables(database: Database) -> None:
    for _ in range(2):
        database.upgrade()
    with database.engine.connect() as connection:
        assert find_differences(connection) == []


def test_a_database_without_alembic_is_completed(database: Database) -> None:
    database.upgrade()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version, attempts")
        connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN host, DROP COLUMN parent_id")
        connection.exec_driver_sql("ALTER TABLE deliveries ADD UNIQUE (job_id, url)")
    database.upgrade()
    with database.engine.connect() as connection:
        assert find_differences(connection) == []


def test_processes_may_start_at_the_same_moment(database: Database, server: tuple[psutil.Process, str]) -> None:
    code = f"from app.database.sessions import Database; Database({server[1]!r}).upgrade()"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    with database.engine.connect() as connection:
        assert find_differences(connection) == []


def test_jobs_are_kept_and_shown(api: Api) -> None:
    job_id = post(api).json()["job_id"]
    shown = requests.get(f"{api.address}/jobs/{job_id}", headers=api.headers, timeout=30).json()
    assert (shown["state"], shown["manifest_url"]) == ("queued", MANIFEST["manifest_url"])


def test_a_server_that_hangs_is_named_and_holds_no_request(server: tuple[psutil.Process, str], api: Api) -> None:
    assert requests.get(f"{api.address}/healthz", timeout=30).status_code == 200
    jobs = api.count_jobs()
    with stopped(server[0]):
        healthz = requests.get(f"{api.address}/healthz", timeout=30)
        answers = [requests.get(f"{api.address}/jobs", headers=api.headers, timeout=30), post(api)]
    assert (healthz.status_code, healthz.json()["message"]) == (503, "The database does not answer.")
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert requests.get(f"{api.address}/healthz", timeout=30).status_code == 200
    assert post(api).status_code == 200
    assert api.count_jobs() == jobs + 1


def test_a_statement_that_nobody_waits_for_is_ended_by_the_server(server: tuple[psutil.Process, str]) -> None:
    database = Database(server[1])
    with pytest.raises(DatabaseUnavailable), wait_at_most(1), database.session() as session:
        session.execute(text("SELECT pg_sleep(600)"))
    with database.session() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "30s"
    database.close()


def test_a_table_that_is_locked_is_waited_for_no_longer_than_a_request_may(server: tuple[psutil.Process, str]) -> None:
    database = Database(server[1])
    database.upgrade()
    with database.engine.begin() as other:
        other.execute(text("LOCK TABLE jobs"))
        with pytest.raises(DatabaseUnavailable), wait_at_most(1), database.session() as session:
            session.execute(text("SELECT count(*) FROM jobs"))
    with database.session() as session:
        session.execute(text("SELECT count(*) FROM jobs"))
    database.close()


def test_a_collection_that_is_cancelled_while_its_parts_are_made_leaves_none_of_them(
    server: tuple[psutil.Process, str],
) -> None:
    database = Database(server[1])
    database.upgrade()
    jobs = Jobs(database, RecordingQueue(), host_jobs=1000)
    (job,) = jobs.submit(1, [DetectionRequest("https://library.example/collection")])
    while (found := jobs.lease_next(DOWNLOAD)) and found.id != job.id:
        pass  # of the tests before
    assert found is not None
    urls = [f"https://library.example/{number}" for number in range(3)]
    parts = DetectionRequest(urls[0]).for_manifests(urls)
    with ThreadPoolExecutor() as executor:

        def cancel(_: Any) -> None:
            """Cancel it after its parts were added, and before they are there."""
            cancelled.append(executor.submit(jobs.cancel, job))
            with database.session() as session:
                while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                    time.sleep(0.01)

        cancelled: list[Future[int]] = []
        event.listen(database._sessions, "before_commit", cancel, once=True)
        jobs.expand(found, *parts)
        assert cancelled[0].result() == 4
    assert {part.state for part in jobs.list_parts(job)} == {State.CANCELLED}
    database.close()
