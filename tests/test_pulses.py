import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import update

from app.database.tables import Database, Job, Pulse
from app.monitoring.heartbeats import Pulses
from app.workers.queue import TaskQueue


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    database.upgrade()
    yield database
    database.close()


def age(database: Database, seconds: float) -> None:
    with database.session() as session:
        session.execute(update(Pulse).values(at=time.time() - seconds))


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


def test_the_heartbeat_of_a_job_is_a_sign_of_life_of_the_queue_of_its_stage(database: Database) -> None:
    pulses = Pulses(database)
    pulses.record_job(Job(state="running"))
    silences = pulses.find_silences()
    assert silences["gpu"] == pytest.approx(0, abs=30)
    assert (silences["io"], silences["post"]) == (None, None)


def test_the_heartbeat_of_a_process_that_serves_every_queue_is_a_sign_of_life_of_each(app: Flask) -> None:
    queue: TaskQueue = app.extensions["queue"]
    queue.pulses.record_job(Job(state="running"))  # no -Q on its command line
    assert all(silence is not None for silence in queue.pulses.find_silences().values())


def test_the_heartbeat_of_a_process_that_serves_one_queue_is_none_of_another(app: Flask) -> None:
    queue: TaskQueue = app.extensions["queue"]
    queue.select_queues(["gpu"])
    queue.pulses.record_job(Job(state="running"))
    silences = queue.pulses.find_silences()
    assert silences["gpu"] == pytest.approx(0, abs=30)
    assert (silences["io"], silences["post"]) == (None, None)
