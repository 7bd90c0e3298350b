import time

import pytest
from flask import Flask
from sqlalchemy import update

from app.database.sessions import Database
from app.database.tables import QueueHeartbeat
from app.jobs.states import RUN
from app.monitoring.heartbeats import QueueHeartbeats
from app.workers.queue import JobQueue
from app.workers.tasks import list_served_queues


def age(database: Database, seconds: float) -> None:
    with database.session() as session:
        session.execute(update(QueueHeartbeat).values(at=time.time() - seconds))


def test_a_queue_through_which_nothing_ever_came_has_no_age(database: Database) -> None:
    assert QueueHeartbeats(database).find_silences() == {"io": None, "gpu": None, "post": None}


def test_what_comes_through_a_queue_is_a_sign_of_life_of_that_queue(database: Database) -> None:
    QueueHeartbeats(database).record("io")
    age(database, 100)
    QueueHeartbeats(database).record("gpu")
    silences = QueueHeartbeats(database).find_silences()
    assert silences["io"] == pytest.approx(100, abs=30)
    assert silences["gpu"] == pytest.approx(0, abs=30)
    assert silences["post"] is None


def test_a_later_sign_of_life_replaces_the_first(database: Database) -> None:
    QueueHeartbeats(database).record("io")
    age(database, 100)
    QueueHeartbeats(database).record("io")
    assert QueueHeartbeats(database).find_silences()["io"] == pytest.approx(0, abs=30)


def test_a_process_does_not_write_what_it_wrote_a_moment_ago(database: Database) -> None:
    heartbeats = QueueHeartbeats(database)
    heartbeats.record("io")
    age(database, 100)
    heartbeats.record("io")
    assert heartbeats.find_silences()["io"] == pytest.approx(100, abs=30)


def test_a_job_is_a_heartbeat_of_every_queue_that_its_process_serves(app: Flask) -> None:
    queue: JobQueue = app.extensions["queue"]  # no -Q on its command line
    assert list_served_queues(queue, RUN) == {"io", "gpu", "post"}


def test_a_job_is_no_heartbeat_of_a_queue_that_its_process_does_not_serve(app: Flask) -> None:
    queue: JobQueue = app.extensions["queue"]
    queue.select_queues(["gpu"])
    assert list_served_queues(queue, RUN) == {"gpu"}
