"""The events of a job, which are enqueued in the transaction of each change."""

import json
from typing import Any

import pytest
from sqlalchemy import select, update

from app.database.tables import Delivery, Job
from app.errors import LeaseLost, ManifestError
from app.jobs import Jobs, State, description
from app.jobs.requests import DetectionRequest
from app.jobs.states import DOWNLOAD, RUN, STAGES
from tests.integration.jobs.conftest import die, lease, start_again
from tests.support.recording_queue import RecordingQueue

NOTIFY_URL = "https://app.example/news"
REQUEST = DetectionRequest("https://example.org/manifest.json", notify_url=NOTIFY_URL)


@pytest.fixture
def job(jobs: Jobs) -> Job:
    (job,) = jobs.submit(7, [REQUEST])
    return job


def find_events(jobs: Jobs, job_id: str) -> list[Delivery]:
    mine = select(Delivery).where(Delivery.job_id == job_id, Delivery.kind != "result").order_by(Delivery.created)
    with jobs.database.session() as session:
        return list(session.scalars(mine))


def find_kinds(jobs: Jobs, job: Job) -> list[str]:
    return [event.kind for event in find_events(jobs, job.id)]


def read(event: Delivery) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(event.body or "")
    return body


def finish(jobs: Jobs, job: Job) -> None:
    for stage in STAGES:
        jobs.finish_stage(lease(jobs, job, stage), stage, 1)


def test_a_job_sends_events_of_its_start_and_its_end(jobs: Jobs, job: Job) -> None:
    finish(jobs, job)
    started, done = find_events(jobs, job.id)
    assert (started.kind, done.kind) == ("job.started", "job.done")
    assert {(event.url, event.endpoint, event.app_id) for event in (started, done)} == {(NOTIFY_URL, NOTIFY_URL, 7)}
    body = read(done)
    assert body.keys() == {"type", "timestamp", "data"}
    assert (body["type"], body["timestamp"][-1]) == ("job.done", "Z")
    assert (body["data"]["job_id"], body["data"]["state"]) == (job.id, "done")
    assert "deliveries" not in body["data"]
    assert read(started)["data"]["state"] == "downloading"


def test_a_job_without_notify_url_sends_no_events(jobs: Jobs) -> None:
    (job,) = jobs.submit(7, [DetectionRequest("https://example.org/manifest.json")])
    finish(jobs, job)
    assert find_events(jobs, job.id) == []


def test_a_failed_job_sends_its_error_once(jobs: Jobs, job: Job) -> None:
    leased = lease(jobs, job, DOWNLOAD)
    for _ in range(2):
        jobs.fail(leased, ManifestError("It is a cake."))
    (_, failed) = find_events(jobs, job.id)
    assert failed.kind == "job.failed"
    assert read(failed)["data"]["error"] == {"code": "bad_manifest", "message": "It is a cake."}


def test_a_job_that_kills_its_worker_sends_the_failed_event(jobs: Jobs, job: Job) -> None:
    for _ in range(2):
        start_again(jobs, job)
    die(jobs, job)
    jobs.free_abandoned()
    assert jobs.lease_next(DOWNLOAD) is None
    assert find_kinds(jobs, job) == ["job.started", "job.failed"]


@pytest.mark.parametrize("leased", [False, True])
def test_a_cancelled_job_sends_only_the_cancelled_event(jobs: Jobs, job: Job, leased: bool) -> None:
    if leased:
        lease(jobs, job, DOWNLOAD)
    for _ in range(2):
        jobs.cancel(job)
    events = {event.kind: event.status for event in find_events(jobs, job.id)}
    assert events == ({"job.started": "cancelled"} if leased else {}) | {"job.cancelled": "pending"}


def test_a_restarted_stage_does_not_repeat_the_started_event(jobs: Jobs, job: Job) -> None:
    start_again(jobs, job)
    start_again(jobs, job)
    assert find_kinds(jobs, job) == ["job.started"]


def test_a_change_without_a_lease_sends_no_event(jobs: Jobs, job: Job) -> None:
    leased = lease(jobs, job, DOWNLOAD)
    jobs.cancel(job)
    with pytest.raises(LeaseLost):
        jobs.finish_stage(leased, DOWNLOAD, 1, State.DONE)
    jobs.fail(leased, ManifestError("late"))
    assert find_kinds(jobs, job) == ["job.started", "job.cancelled"]


def test_progress_events_are_limited_by_time(jobs: Jobs, job: Job) -> None:
    leased = lease(jobs, job, DOWNLOAD)
    for done in range(1, 4):
        jobs.record_progress(leased, done, 9, None)
    started, progress = find_events(jobs, job.id)
    assert read(progress)["data"]["progress"] == {"stage": "downloading", "done": 1, "total": 9}
    assert started.kind == "job.started"


def test_only_the_newest_progress_event_is_kept_and_none_after_the_end(
    jobs: Jobs, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(description, "PROGRESS_SECONDS", 0)
    leased = lease(jobs, job, DOWNLOAD)
    for done in range(1, 4):
        jobs.record_progress(leased, done, 9, None)
    assert find_kinds(jobs, job) == ["job.started", "job.progress"]
    assert read(find_events(jobs, job.id)[-1])["data"]["progress"]["done"] == 3
    jobs.finish_stage(leased, DOWNLOAD, 1)
    jobs.record_progress(lease(jobs, job, RUN), 3, 9, None)  # the same number, in another stage
    assert find_kinds(jobs, job) == ["job.started", "job.progress"]
    jobs.fail(jobs.find(job.id), ManifestError("no"))
    assert find_kinds(jobs, job) == ["job.started", "job.failed"]


def test_a_retry_sends_new_events_and_holds_back_none(jobs: Jobs, job: Job) -> None:
    jobs.fail(lease(jobs, job, DOWNLOAD), ManifestError("no"))
    jobs.retry(jobs.find(job.id))
    assert all(event.next_attempt for event in find_events(jobs, job.id))
    finish(jobs, job)
    assert find_kinds(jobs, job) == ["job.started", "job.failed", "job.started", "job.done"]


def test_the_jobs_of_a_collection_send_their_own_events(jobs: Jobs, job: Job) -> None:
    leased = lease(jobs, job, DOWNLOAD)
    for _ in range(2):  # the second call is as after a crash
        jobs.expand(leased, *REQUEST.for_manifests(["https://example.org/1", "http://[bad"]))
    jobs.finish_stage(leased, DOWNLOAD, 1, State.DONE)
    good, bad = jobs.list_parts(job)
    assert (find_kinds(jobs, good), find_kinds(jobs, bad)) == ([], ["job.failed"])
    jobs.cancel(job)
    assert find_kinds(jobs, good) == ["job.cancelled"]
    assert find_kinds(jobs, job) == ["job.started", "job.done"]


def test_an_event_contains_the_job_as_it_was_then(jobs: Jobs, job: Job, queue: RecordingQueue) -> None:
    jobs.fail(lease(jobs, job, DOWNLOAD), ManifestError("It is a cake."))
    with jobs.database.session() as session:
        session.execute(update(Job).values(error_message="another"))
    assert read(find_events(jobs, job.id)[-1])["data"]["error"]["message"] == "It is a cake."
