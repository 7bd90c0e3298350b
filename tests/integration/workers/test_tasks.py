"""What the schedule does; the tasks of a job with real workers are in test_detection_jobs.py and test_libraries.py."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy import update

from app.database.connections import wait_at_most
from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind
from app.delivery.outbox import enlist
from app.delivery.payloads import Destination
from app.demo.client_app import ClientApp
from app.jobs import State
from app.jobs.states import DELIVER
from app.storage import Storage, write_atomic
from app.workers.queue import JobQueue
from app.workers.tasks import run_stage


def add_old_image(storage: Storage, url: str) -> Path:
    path = storage.images(url) / "page.image"
    write_atomic(path, b"pixels")
    os.utime(path, (0, 0))
    return path


def test_the_daily_task_removes_old_images_and_keeps_those_on_which_jobs_work(
    app: Flask, client: FlaskClient, headers: dict[str, str]
) -> None:
    queue = app.extensions["queue"]
    old, wanted = (add_old_image(queue.services.storage, f"https://a.example/{name}") for name in ("old", "wanted"))
    client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/wanted"})
    queue.loader.import_default_modules()
    queue.tasks["tidy"]()
    assert (old.exists(), wanted.exists()) == (False, True)


def test_the_daily_task_removes_what_broken_uploads_left(app: Flask) -> None:
    queue = app.extensions["queue"]
    left = queue.services.datasets.parts / "tmp" / "images"
    left.mkdir(parents=True)
    os.utime(left.parent, (0, 0))
    queue.loader.import_default_modules()
    queue.tasks["tidy"]()
    assert not left.parent.exists()


def test_every_task_of_the_schedule_is_there_and_the_cleaning_is_daily(app: Flask) -> None:
    queue = app.extensions["queue"]
    queue.loader.import_default_modules()
    schedule = queue.conf.beat_schedule
    assert {entry["task"] for entry in schedule.values()} <= set(queue.tasks)
    assert schedule["tidy"]["schedule"] == 86400


@pytest.fixture
def queue(app: Flask) -> JobQueue:
    queue: JobQueue = app.extensions["queue"]
    queue.loader.import_default_modules()
    return queue


def count_tickets(queue: JobQueue) -> int:
    with Redis.from_url(queue.services.settings.broker_url) as broker:
        return int(broker.llen("post"))  # type: ignore[arg-type]


def enlist_results(queue: JobQueue, base: str, count: int = 1) -> None:
    with queue.services.database.session() as session:
        for number in range(count):
            job = Job(id=f"job{number}", app_id=1, kind="detection", request={"manifest_url": base}, retries=0)
            session.add(job)
            session.flush()
            enlist(session, job, Kind.RESULT, Destination(f"{base}/{number}", base))


def enlist_and_fail(queue: JobQueue) -> None:
    with queue.services.database.session() as session:
        to = Destination("https://b.example", "https://b.example")
        enlist(session, session.get_one(Job, "job0"), Kind.RESULT, to)
        raise KeyError


def test_what_is_enlisted_calls_the_courier_once_it_is_committed(queue: JobQueue) -> None:
    enlist_results(queue, "https://a.example")
    assert count_tickets(queue) == 1
    with pytest.raises(KeyError):
        enlist_and_fail(queue)
    assert count_tickets(queue) == 1


def test_a_ticket_asks_for_the_next_until_nothing_is_due(queue: JobQueue, client_app: tuple[ClientApp, str]) -> None:
    receiver, url = client_app
    enlist_results(queue, url, 2)
    for number in range(2):
        write_atomic(queue.services.storage.job(f"job{number}").annotations, b"1 a.jpg\n")
    tickets = [count_tickets(queue)]
    for _ in range(3):
        queue.tasks["deliver_next"]()
        tickets.append(count_tickets(queue))
    assert (tickets, len(receiver.received)) == ([1, 2, 3, 3], 2)


def test_the_sweep_calls_the_courier_for_what_is_due_a_bounded_number_of_times(queue: JobQueue) -> None:
    enlist_results(queue, "https://a.example", 50)
    queue.tasks["sweep"]()
    assert count_tickets(queue) == 1  # somebody is called already
    with Redis.from_url(queue.services.settings.broker_url) as broker:
        broker.flushdb()
    queue.tasks["sweep"]()
    assert count_tickets(queue) == 16
    with queue.services.database.session() as session:
        session.execute(update(Delivery).values(next_attempt=None))
    with Redis.from_url(queue.services.settings.broker_url) as broker:
        broker.flushdb()
    queue.tasks["sweep"]()
    assert count_tickets(queue) == 0


def test_the_last_stage_enlists_the_result_and_the_job_is_done(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    form = {"manifest_url": "https://a.example/m", "callback": "https://app.example/in"}
    job_id = client.post("/run_detect", headers=headers, data=form).json["job_id"]
    queue.services.jobs.change(job_id, True, state=State.DELIVERING, manifest_ref="m")
    for _ in range(2):
        queue.tasks["deliver"](job_id)
        queue.services.jobs.change(job_id, True, state=State.DELIVERING)  # as when it dies before it is handed over
    queue.tasks["deliver"](job_id)
    job = queue.services.jobs.find(job_id)
    (delivery,) = queue.services.jobs.deliveries([job])[job_id]
    assert (job.state, delivery.url, delivery.status) == (State.DONE, "https://app.example/in/m", "pending")
    assert delivery.endpoint == "https://app.example/in"


def test_a_broker_that_is_away_loses_no_delivery(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.close()
    monkeypatch.setitem(queue.conf, "broker_url", "redis://127.0.0.1:1/0")
    monkeypatch.setitem(queue.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    enlist_results(queue, "https://a.example")
    assert queue.services.outbox.count_due(9) == 1


def test_a_database_that_is_locked_for_a_while_fails_no_job(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id = client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/m"}).json["job_id"]
    queue.services.jobs.change(job_id, True, state=State.DELIVERING)

    def work(job: Job) -> State | None:
        with closing(sqlite3.connect(queue.services.database.engine.url.database or "")) as other, wait_at_most(0.1):
            other.execute("BEGIN IMMEDIATE")
            queue.services.claims.beat(job)
        return None

    task = queue.tasks["deliver"]
    task.push_request(id="message", retries=0)
    run_stage(task, DELIVER, work)
    task.pop_request()
    job = queue.services.jobs.find(job_id)
    assert (job.state, bool(job.claim)) == (State.DELIVERING, True)  # the sweep frees a claim without a heartbeat
