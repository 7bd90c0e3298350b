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


def test_a_queue_without_a_heartbeat_has_no_silence(database: Database) -> None:
    assert QueueHeartbeats(database).find_silences() == {"io": None, "gpu": None, "post": None}


def test_each_queue_has_its_own_heartbeat(database: Database) -> None:
    QueueHeartbeats(database).record("io")
    age(database, 100)
    QueueHeartbeats(database).record("gpu")
    silences = QueueHeartbeats(database).find_silences()
    assert silences["io"] == pytest.approx(100, abs=30)
    assert silences["gpu"] == pytest.approx(0, abs=30)
    assert silences["post"] is None


def test_a_later_heartbeat_replaces_the_first(database: Database) -> None:
    QueueHeartbeats(database).record("io")
    age(database, 100)
    QueueHeartbeats(database).record("io")
    assert QueueHeartbeats(database).find_silences()["io"] == pytest.approx(0, abs=30)


def test_a_process_writes_at_most_one_heartbeat_per_second(database: Database) -> None:
    heartbeats = QueueHeartbeats(database)
    heartbeats.record("io")
    age(database, 100)
    heartbeats.record("io")
    assert heartbeats.find_silences()["io"] == pytest.approx(100, abs=30)


def test_a_job_counts_for_every_queue_that_its_process_serves(app: Flask) -> None:
    queue: JobQueue = app.extensions["queue"]  # no -Q on its command line
    assert list_served_queues(queue, RUN) == {"io", "gpu", "post"}


def test_a_job_does_not_count_for_queues_of_other_processes(app: Flask) -> None:
    queue: JobQueue = app.extensions["queue"]
    queue.select_queues(["gpu"])
    assert list_served_queues(queue, RUN) == {"gpu"}
