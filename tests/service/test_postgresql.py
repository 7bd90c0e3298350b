"""Test the service on a real PostgreSQL server, also when the server hangs or closes connections."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests
from sqlalchemy import event, text

from app.config import ROOT
from app.database.connections import wait_at_most
from app.database.sessions import Database
from app.errors import DatabaseUnavailable
from app.jobs import Jobs, State
from app.jobs.requests import DetectionRequest
from app.jobs.states import DOWNLOAD
from tests.support.api import Api, open_api
from tests.support.postgresql import Server
from tests.support.recording_queue import RecordingQueue
from tests.support.schema import find_differences

MANIFEST = {"manifest_url": "https://library.example/manifest.json"}


@pytest.fixture(scope="module")
def api(postgresql: Server, broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    url = postgresql.create_database()
    with open_api(tmp_path_factory.mktemp("api"), celery_broker_url=broker_url, database_url=url) as api:
        yield api


@pytest.fixture
def database(postgresql: Server) -> Iterator[Database]:
    """An empty database."""
    database = Database(postgresql.create_database())
    yield database
    database.close()


def post(api: Api) -> requests.Response:
    return requests.post(f"{api.address}/run_detect", headers=api.headers, data=MANIFEST, timeout=30)


def test_the_migrated_schema_matches_the_table_classes(database: Database) -> None:
    for _ in range(2):
        database.upgrade()
    with database.engine.connect() as connection:
        assert find_differences(connection) == []


def test_several_processes_can_upgrade_at_the_same_time(database: Database) -> None:
    url = database.engine.url.render_as_string()
    code = f"from app.database.sessions import Database; Database({url!r}).upgrade()"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    with database.engine.connect() as connection:
        assert find_differences(connection) == []


def test_a_submitted_job_is_stored_and_shown(api: Api) -> None:
    job_id = post(api).json()["job_id"]
    shown = requests.get(f"{api.address}/jobs/{job_id}", headers=api.headers, timeout=30).json()
    assert (shown["state"], shown["manifest_url"]) == ("queued", MANIFEST["manifest_url"])


def test_requests_are_answered_503_while_the_server_hangs(postgresql: Server, api: Api) -> None:
    assert requests.get(f"{api.address}/healthz", timeout=30).status_code == 200
    jobs = api.count_jobs()
    with postgresql.hang():
        healthz = requests.get(f"{api.address}/healthz", timeout=30)
        answers = [requests.get(f"{api.address}/jobs", headers=api.headers, timeout=30), post(api)]
    assert (healthz.status_code, healthz.json()["message"]) == (503, "The database does not answer.")
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert requests.get(f"{api.address}/healthz", timeout=30).status_code == 200
    assert post(api).status_code == 200
    assert api.count_jobs() == jobs + 1


def test_a_session_fails_when_the_server_hangs_in_its_middle(postgresql: Server, database: Database) -> None:
    def work() -> None:
        with wait_at_most(1), database.session() as session:
            session.execute(text("SELECT 1"))
            with postgresql.hang():
                session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        work()
    with database.session() as session:
        session.execute(text("SELECT 1"))


def test_a_connection_closed_by_the_server_is_replaced(database: Database) -> None:
    with database.session() as session:
        closed = session.scalar(text("SELECT pg_backend_pid()"))
    other = Database(database.engine.url.render_as_string())
    with other.session() as session:
        session.execute(text(f"SELECT pg_terminate_backend({closed}, 10000)"))
    other.close()
    with database.session() as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) != closed


def test_the_server_cancels_a_statement_after_the_time_limit(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable), wait_at_most(1), database.session() as session:
        session.execute(text("SELECT pg_sleep(600)"))
    with database.session() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "30s"


def test_waiting_for_a_locked_table_ends_at_the_time_limit(database: Database) -> None:
    database.upgrade()
    with database.engine.begin() as other:
        other.execute(text("LOCK TABLE jobs"))
        with pytest.raises(DatabaseUnavailable), wait_at_most(1), database.session() as session:
            session.execute(text("SELECT count(*) FROM jobs"))
    with database.session() as session:
        session.execute(text("SELECT count(*) FROM jobs"))


def test_cancelling_a_collection_during_its_expansion_cancels_all_parts(database: Database) -> None:
    database.upgrade()
    jobs = Jobs(database, RecordingQueue(), host_jobs=1000)
    (job,) = jobs.submit(1, [DetectionRequest("https://library.example/collection")])
    found = jobs.lease_next(DOWNLOAD)
    assert found is not None
    urls = [f"https://library.example/{number}" for number in range(3)]
    parts = DetectionRequest(urls[0]).for_manifests(urls)
    with ThreadPoolExecutor() as executor:

        def cancel(_: Any) -> None:
            """Cancel the collection from another thread just before its parts are committed."""
            cancelled.append(executor.submit(jobs.cancel, job))
            with database.session() as session:
                while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                    time.sleep(0.01)

        cancelled: list[Future[int]] = []
        event.listen(database._sessions, "before_commit", cancel, once=True)
        jobs.expand(found, *parts)
        assert cancelled[0].result() == 4
    assert {part.state for part in jobs.list_parts(job)} == {State.CANCELLED}
