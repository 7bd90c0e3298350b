"""The periodic tasks and the messages of tasks. ``test_detection_jobs.py`` tests jobs with real workers."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from celery.schedules import crontab
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from app import create_app
from app.config import Settings
from app.database.connections import wait_at_most
from app.database.tables import Attempt, Delivery, Endpoint, Job
from app.delivery.endpoints import suspend_endpoint
from app.delivery.kinds import Kind
from app.delivery.outbox import enqueue
from app.delivery.payloads import Destination
from app.demo.client_app import RecordingClientApp
from app.errors import ManifestError
from app.jobs import State
from app.jobs.states import DELIVER, DOWNLOAD, RUN
from app.services import Services
from app.storage import Storage, write_atomic
from app.workers import failures
from app.workers.queue import MOST_MESSAGES, JobQueue
from app.workers.tasks import remove_expired_jobs, run_stage
from tests.support.rows import change_job


def add_old_image(storage: Storage, url: str) -> Path:
    path = storage.images(url) / "page.image"
    write_atomic(path, b"pixels")
    os.utime(path, (0, 0))
    return path


def test_tidying_removes_old_images_except_those_of_unfinished_jobs(
    app: Flask, client: FlaskClient, headers: dict[str, str]
) -> None:
    queue = app.extensions["queue"]
    old, wanted = (add_old_image(queue.services.storage, f"https://a.example/{name}") for name in ("old", "wanted"))
    client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/wanted"})
    queue.loader.import_default_modules()
    queue.tasks["tidy"]()
    assert (old.exists(), wanted.exists()) == (False, True)


def test_tidying_removes_the_files_of_incomplete_uploads(app: Flask) -> None:
    queue = app.extensions["queue"]
    left = queue.services.datasets.parts / "tmp" / "images"
    left.mkdir(parents=True)
    os.utime(left.parent, (0, 0))
    queue.loader.import_default_modules()
    queue.tasks["tidy"]()
    assert not left.parent.exists()


def test_tidying_removes_finished_jobs_with_their_files_and_deliveries(
    app: Flask, settings: Settings, client: FlaskClient, headers: dict[str, str]
) -> None:
    queue = app.extensions["queue"]
    old, pending, recent, kept = (submit(client, headers, manifest_url=f"https://{n}.example/m") for n in range(4))
    for job_id in (old, pending, recent):
        write_atomic(queue.services.storage.job(job_id).annotations, b"1 a.jpg\n")
        change_job(queue.services.database, job_id, state="done", finished=time.time() - 3 * 86400)
    change_job(queue.services.database, recent, finished=time.time())
    with queue.services.database.session() as session:
        for job_id, status in ((old, "delivered"), (pending, "pending")):
            session.add(Delivery(id=f"d-{status}", job_id=job_id, url="https://a.example", status=status))
            session.flush()
            session.add(Attempt(delivery_id=f"d-{status}", at=time.time(), seconds=1))
    queue.loader.import_default_modules()
    queue.tasks["tidy"]()  # without RESULT_DAYS, jobs are kept
    assert client.get(f"/jobs/{old}", headers=headers).status_code == 200
    queue.services.settings = settings.model_copy(update={"result_days": 2})
    queue.tasks["tidy"]()
    assert client.get(f"/jobs/{old}", headers=headers).status_code == 404
    assert not queue.services.storage.job(old).path.exists()
    assert {job["job_id"] for job in client.get("/jobs", headers=headers).json["jobs"]} == {pending, recent, kept}
    with queue.services.database.session() as session:
        assert list(session.scalars(select(Attempt.delivery_id))) == ["d-pending"]


def test_tidying_keeps_a_job_that_is_retried_meanwhile(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    services = app.extensions["services"]
    enqueue_results(app.extensions["queue"], "https://a.example")
    with services.database.session() as session:
        job_id = session.scalars(update(Delivery).values(status="delivered").returning(Delivery.job_id)).one()
    change_job(services.database, job_id, state="failed", finished=1.0)
    write_atomic(services.storage.job(job_id).manifest, b"{}")
    list_expired = services.jobs.list_expired

    def list_and_retry(before: float, limit: int) -> list[str]:
        found = list_expired(before, limit)
        assert all(services.jobs.retry(services.jobs.find(each)) for each in found)
        return found

    monkeypatch.setattr(services.jobs, "list_expired", list_and_retry)
    assert remove_expired_jobs(services, 1) == 0
    assert services.jobs.find(job_id).state == "queued"
    assert services.storage.job(job_id).manifest.exists()
    assert len(services.jobs.deliveries([services.jobs.find(job_id)])[job_id]) == 1


def test_the_files_of_removed_jobs_that_a_crash_left_are_deleted(app: Flask) -> None:
    queue = app.extensions["queue"]
    storage = queue.services.storage
    enqueue_results(queue, "https://a.example")
    change_job(queue.services.database, "job0", state="done", finished=1.0)
    write_atomic(storage.job("job0").annotations, b"1 a.jpg\n")
    assert queue.services.jobs.remove("job0", storage.discard_job)
    assert not storage.job("job0").path.exists()
    assert len([*storage.root.glob("discarded/*/annotations.txt")]) == 1
    queue.loader.import_default_modules()
    queue.tasks["tidy"]()
    assert [*storage.root.glob("discarded/*")] == []


def test_the_row_of_a_job_stays_if_its_files_cannot_be_moved(app: Flask) -> None:
    services = app.extensions["services"]
    enqueue_results(app.extensions["queue"], "https://a.example")
    change_job(services.database, "job0", state="done", finished=1.0)

    def fail(job_id: str) -> None:
        raise PermissionError(job_id)

    with pytest.raises(PermissionError):
        services.jobs.remove("job0", fail)
    assert services.jobs.find("job0").state == "done"
    assert services.outbox.count_due(9) == 1


def test_tidying_removes_a_collection_after_its_jobs(app: Flask) -> None:
    services = app.extensions["services"]
    with services.database.session() as session:
        for job_id, parent in (("c", None), ("p", "c")):
            session.add(
                Job(id=job_id, app_id=1, kind="detection", request={}, state="done", finished=1.0, parent_id=parent)
            )
    assert services.jobs.list_expired(time.time(), 9) == ["p"]
    assert remove_expired_jobs(services, 1) == 2


def test_tidying_removes_attempts_after_thirty_days(app: Flask) -> None:
    services = app.extensions["services"]
    enqueue_results(app.extensions["queue"], "https://a.example")
    with services.database.session() as session:
        delivery = session.scalars(select(Delivery.id)).one()
        for days in (29, 31):
            session.add(Attempt(delivery_id=delivery, at=time.time() - days * 86400, seconds=1))
    assert services.outbox.remove_old_attempts() == 1


def test_tidying_removes_endpoints_whose_pause_has_ended(queue: JobQueue) -> None:
    database, now = queue.services.database, time.time()
    for url, values in {
        "https://ended.example": {"paused_until": now - 60},
        "https://paused.example": {"paused_until": now + 60},
        "https://closed.example": {"closed": "It answered 410."},
    }.items():
        with database.session() as session:
            suspend_endpoint(session, 1, url, **values)
    queue.tasks["tidy"]()
    with database.session() as session:
        assert {*session.scalars(select(Endpoint.url))} == {"https://paused.example", "https://closed.example"}


def test_every_scheduled_task_exists_and_tidying_runs_every_six_hours(app: Flask) -> None:
    queue = app.extensions["queue"]
    queue.loader.import_default_modules()
    schedule = queue.conf.beat_schedule
    assert {entry["task"] for entry in schedule.values()} <= set(queue.tasks)
    assert schedule["tidy"]["schedule"] == crontab(minute="0", hour="0,6,12,18")


def test_the_broker_url_of_the_settings_overrides_the_environment(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere.example")
    queue = app.extensions["queue"]
    for connection in (queue.connection(), queue.connection_for_read(), queue.connection_for_write()):
        assert connection.as_uri(include_password=True) == settings.broker_url


@pytest.fixture
def queue(app: Flask) -> JobQueue:
    queue: JobQueue = app.extensions["queue"]
    queue.loader.import_default_modules()
    return queue


def count_messages(queue: JobQueue, name: str = "post") -> int:
    return int(queue.services.broker.llen(name))  # type: ignore[arg-type]


def empty_queues(queue: JobQueue) -> None:
    queue.services.broker.flushdb()


def enqueue_results(queue: JobQueue, base: str, count: int = 1) -> None:
    with queue.services.database.session() as session:
        for number in range(count):
            job = Job(id=f"job{number}", app_id=1, kind="detection", request={"manifest_url": base}, retries=0)
            session.add(job)
            session.flush()
            enqueue(session, job, Kind.RESULT, Destination(f"{base}/{number}", base))


def submit(client: FlaskClient, headers: dict[str, str], **form: str) -> str:
    answer = client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/m", **form})
    job_id: str = answer.json["job_id"]
    return job_id


def test_a_message_without_a_job_sends_one_delivery_and_wakes_the_next(
    queue: JobQueue, client_app: tuple[RecordingClientApp, str]
) -> None:
    receiver, url = client_app
    enqueue_results(queue, url, 2)
    for number in range(2):
        write_atomic(queue.services.storage.job(f"job{number}").annotations, b"1 a.jpg\n")
    received, messages = [], []
    for _ in range(3):
        empty_queues(queue)
        queue.tasks["deliver"]()
        received.append(len(receiver.received))
        messages.append(count_messages(queue))
    assert (received, messages) == ([1, 2, 2], [1, 0, 0])


def test_the_sweep_sends_the_missing_messages_of_deliveries(queue: JobQueue) -> None:
    enqueue_results(queue, "https://a.example", 50)
    for _ in range(2):
        queue.tasks["sweep"]()
        assert count_messages(queue) == MOST_MESSAGES
    with queue.services.database.session() as session:
        session.execute(update(Delivery).values(next_attempt=None))
    empty_queues(queue)
    queue.tasks["sweep"]()
    assert count_messages(queue) == 0


def test_the_sweep_sends_the_missing_messages_of_jobs(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    for number in range(3):
        submit(client, headers, manifest_url=f"https://{number}.example/m")
    assert count_messages(queue, "io") == 3
    empty_queues(queue)
    for _ in range(2):
        queue.tasks["sweep"]()
        assert count_messages(queue, "io") == 3


def test_the_sweep_sends_no_message_for_a_job_whose_host_is_full(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    for _ in range(3):
        submit(client, headers)
    for _ in range(2):
        queue.services.jobs.lease_next(DOWNLOAD)
    empty_queues(queue)
    queue.tasks["sweep"]()
    assert count_messages(queue, "io") == 0


def test_a_stage_that_ends_wakes_a_worker_for_the_next_waiting_job(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    for number in range(2):
        submit(client, headers, manifest_url=f"https://{number}.example/m")
    empty_queues(queue)
    for expected in (1, 0, 0):
        run_stage(queue, DOWNLOAD, lambda services, job: None)
        assert count_messages(queue, "io") == expected
        queue.services.broker.delete("io")


def test_the_sweep_frees_the_job_of_a_dead_worker(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id = submit(client, headers)
    queue.services.jobs.lease_next(DOWNLOAD)
    change_job(queue.services.database, job_id, heartbeat=1.0)
    empty_queues(queue)
    queue.tasks["sweep"]()
    assert queue.services.jobs.find(job_id).lease is None
    assert count_messages(queue, "io") == 1


def test_the_last_stage_enqueues_the_result_once_and_the_job_is_done(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str], client_app: tuple[RecordingClientApp, str]
) -> None:
    receiver, url = client_app
    job_id = submit(client, headers, callback=f"{url}/in")
    write_atomic(queue.services.storage.job(job_id).annotations, b"1 a.jpg\n")
    for _ in range(2):  # the second run is as after a kill at the end of the stage
        change_job(queue.services.database, job_id, state=State.DELIVERING, manifest_ref="m")
        queue.tasks["deliver"]()
    job = queue.services.jobs.find(job_id)
    (delivery,) = queue.services.jobs.deliveries([job])[job_id]
    assert (job.state, delivery.url, delivery.status) == (State.DONE, f"{url}/in/m", "delivered")
    assert (delivery.endpoint, len(receiver.received)) == (f"{url}/in", 1)


def test_a_result_waits_for_no_attempt_of_another_job(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str], client_app: tuple[RecordingClientApp, str]
) -> None:
    receiver, url = client_app
    enqueue_results(queue, url)
    write_atomic(queue.services.storage.job("job0").annotations, b"1 a.jpg\n")
    job_id = submit(client, headers, callback=url)
    change_job(queue.services.database, job_id, state=State.DELIVERING, manifest_ref="m")
    empty_queues(queue)
    messages: list[int] = []
    receiver.on_receive = lambda: messages.append(count_messages(queue))
    queue.tasks["deliver"]()
    assert ([received.path for received in receiver.received], messages) == (["/0"], [1])


def test_a_job_is_accepted_while_the_broker_is_down(app: Flask, settings: Settings, headers: dict[str, str]) -> None:
    cut_off = create_app(settings.model_copy(update={"celery_broker_url": "redis://127.0.0.1:1/0"}))
    client, services = cut_off.test_client(), cut_off.extensions["services"]
    job_id = submit(client, headers)
    services.jobs.fail(services.jobs.lease_next(DOWNLOAD), ManifestError("no"))
    assert client.post(f"/jobs/{job_id}/retry", headers=headers).status_code == 200
    assert services.jobs.find(job_id).state == State.QUEUED
    services.database.close()
    queue: JobQueue = app.extensions["queue"]  # the broker is back
    assert count_messages(queue, "io") == 0
    queue.tasks["sweep"]()
    assert count_messages(queue, "io") == 1


def test_a_temporarily_locked_database_fails_no_job(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    job_id = submit(client, headers)
    change_job(queue.services.database, job_id, state=State.DELIVERING)

    def work(services: Services, job: Job) -> State | None:
        with closing(sqlite3.connect(services.database.engine.url.database or "")) as other, wait_at_most(0.1):
            other.execute("BEGIN IMMEDIATE")
            services.jobs.heartbeat(job)
        return None

    run_stage(queue, DELIVER, work)
    job = queue.services.jobs.find(job_id)
    assert (job.state, bool(job.lease)) == (State.DELIVERING, True)  # until the sweep frees it


STICKY = RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later")


class Exited(BaseException):
    pass


def fail_on_gpu(services: Services, job: Job) -> State | None:
    services.jobs.record_start(job)
    raise STICKY


def test_a_child_process_exits_after_a_gpu_error_and_its_job_continues(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exit_process(_: int) -> None:
        raise Exited

    monkeypatch.setattr("os._exit", exit_process)
    monkeypatch.setattr(failures.current_process(), "_name", "ForkPoolWorker-1")
    jobs, job_id = queue.services.jobs, submit(client, headers)
    change_job(queue.services.database, job_id, state=State.RUNNING)
    empty_queues(queue)
    with pytest.raises(Exited):
        run_stage(queue, RUN, fail_on_gpu)
    assert (jobs.find(job_id).state, jobs.find(job_id).lease) == (State.RUNNING, None)
    assert count_messages(queue, "gpu") == 1
    with pytest.raises(Exited):
        run_stage(queue, RUN, fail_on_gpu)
    job = jobs.find(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "device_lost")
    assert "`CUDA error: device-side assert triggered`, again in a new process" in (job.error_message or "")


@pytest.mark.parametrize(
    ("error", "code", "advice"),
    [
        (STICKY, "device_lost", "restart the worker, then retry the job"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out_of_memory", "stop other programs"),
    ],
    ids=["device lost", "out of memory"],
)
def test_a_thread_reports_the_error_of_the_gpu(
    error: Exception, code: str, advice: str, queue: JobQueue, client: FlaskClient, headers: dict[str, str]
) -> None:
    def work(services: Services, job: Job) -> State | None:
        raise error

    job_id = submit(client, headers)
    change_job(queue.services.database, job_id, state=State.RUNNING)
    run_stage(queue, RUN, work)
    job = queue.services.jobs.find(job_id)
    assert (job.state, job.error_code) == (State.FAILED, code)
    assert advice in (job.error_message or "")
