import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app.database import Database, Job, Pulse
from app.pulses import Pulses


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    database.create_tables()
    yield database
    database.close()


def age(database: Database, seconds: float) -> None:
    with database.session() as session:
        session.execute(update(Pulse).values(at=time.time() - seconds))


def add_job(database: Database, **values: object) -> None:
    with database.session() as session:
        session.add(Job(id="a" * 32, app_id=1, kind="detection", request={}, **values))


def test_a_queue_through_which_nothing_ever_came_has_no_age(database: Database) -> None:
    assert Pulses(database).find_silences() == {"io": None, "gpu": None, "post": None}


def test_what_comes_through_a_queue_is_a_sign_of_life_of_that_queue(database: Database) -> None:
    Pulses(database).record("io")
    age(database, 100)
    Pulses(database).record("gpu")
    silences = Pulses(database).find_silences()
    assert silences["io"] == pytest.approx(100, abs=30)
    assert silences["gpu"] == pytest.approx(0, abs=30)
    assert silences["post"] is None


def test_a_later_sign_of_life_replaces_the_first(database: Database) -> None:
    Pulses(database).record("io")
    age(database, 100)
    Pulses(database).record("io")
    assert Pulses(database).find_silences()["io"] == pytest.approx(0, abs=30)


def test_a_process_does_not_write_what_it_wrote_a_moment_ago(database: Database) -> None:
    pulses = Pulses(database)
    pulses.record("io")
    age(database, 100)
    pulses.record("io")
    assert pulses.find_silences()["io"] == pytest.approx(100, abs=30)


def test_the_heartbeat_of_a_job_at_work_is_a_sign_of_life(database: Database) -> None:
    add_job(database, state="running", claim="message:0", heartbeat=time.time() - 5)
    silences = Pulses(database).find_silences()
    assert silences["gpu"] == pytest.approx(5, abs=3)
    assert (silences["io"], silences["post"]) == (None, None)


@pytest.mark.parametrize("values", [{"state": "running", "claim": None}, {"state": "done", "claim": "message:0"}])
def test_a_job_that_waits_or_is_over_is_no_sign_of_life(database: Database, values: dict[str, object]) -> None:
    add_job(database, **values)
    assert Pulses(database).find_silences()["gpu"] is None
