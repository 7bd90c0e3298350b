"""What a client app that named a ``notify_url`` is told of a job, in the transaction of each change."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select, update

from app.database.tables import Delivery, Job
from app.errors import ClaimLost, ManifestError
from app.jobs import Claims, DetectionRequest, JobStore, Parts, State
from app.jobs.events import Announcements
from app.jobs.states import DETECT, DOWNLOAD, STAGES
from tests.integration.jobs.conftest import Queues, claimed, die, start_again

NEWS = "https://app.example/news"
REQUEST = DetectionRequest("https://example.org/manifest.json", notify_url=NEWS)


@pytest.fixture
def job(store: JobStore) -> Job:
    (job,) = store.submit(7, [REQUEST])
    return job


def find_events(store: JobStore, job_id: str) -> list[Delivery]:
    mine = select(Delivery).where(Delivery.job_id == job_id, Delivery.kind != "result").order_by(Delivery.created)
    with store.database.session() as session:
        return list(session.scalars(mine))


def find_kinds(store: JobStore, job: Job) -> list[str]:
    return [event.kind for event in find_events(store, job.id)]


def read(event: Delivery) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(event.body or "")
    return body


def finish(claims: Claims, job: Job) -> None:
    for stage in STAGES:
        claims.hand_over(claimed(claims, job, stage), stage, 1)


def test_a_job_tells_of_its_start_and_its_end(store: JobStore, claims: Claims, job: Job) -> None:
    finish(claims, job)
    started, done = find_events(store, job.id)
    assert (started.kind, done.kind) == ("job.started", "job.done")
    assert {(event.url, event.endpoint, event.app_id) for event in (started, done)} == {(NEWS, NEWS, 7)}
    body = read(done)
    assert body.keys() == {"type", "timestamp", "data"}
    assert (body["type"], body["timestamp"][-1]) == ("job.done", "Z")
    assert (body["data"]["job_id"], body["data"]["state"]) == (job.id, "done")
    assert "deliveries" not in body["data"]
    assert read(started)["data"]["state"] == "downloading"


def test_a_job_whose_request_names_no_address_tells_nobody(store: JobStore, claims: Claims) -> None:
    (job,) = store.submit(7, [DetectionRequest("https://example.org/manifest.json")])
    finish(claims, job)
    assert find_events(store, job.id) == []


def test_a_failed_job_tells_why_once(store: JobStore, claims: Claims, job: Job) -> None:
    at_work = claimed(claims, job, DOWNLOAD)
    for _ in range(2):
        claims.fail(at_work, ManifestError("It is a cake."))
    (_, failed) = find_events(store, job.id)
    assert failed.kind == "job.failed"
    assert read(failed)["data"]["error"] == {"code": "bad_manifest", "message": "It is a cake."}


def test_a_job_that_kills_its_worker_tells_that_it_failed(store: JobStore, claims: Claims, job: Job) -> None:
    for number in range(2):
        start_again(store, claims, job, number)
    die(store, job)
    assert claims.claim(DOWNLOAD, "message", 2) is None
    assert find_kinds(store, job) == ["job.started", "job.failed"]


@pytest.mark.parametrize("at_work", [False, True])
def test_a_cancelled_job_tells_so_and_nothing_else(store: JobStore, claims: Claims, job: Job, at_work: bool) -> None:
    if at_work:
        claimed(claims, job, DOWNLOAD)
    for _ in range(2):
        store.cancel(job)
    events = {event.kind: event.status for event in find_events(store, job.id)}
    assert events == ({"job.started": "cancelled"} if at_work else {}) | {"job.cancelled": "pending"}


def test_a_stage_that_starts_again_does_not_tell_of_its_start_again(store: JobStore, claims: Claims, job: Job) -> None:
    start_again(store, claims, job, 0)
    start_again(store, claims, job, 1)
    assert find_kinds(store, job) == ["job.started"]


def test_a_change_that_is_not_made_tells_nothing(store: JobStore, claims: Claims, job: Job) -> None:
    at_work = claimed(claims, job, DOWNLOAD)
    store.cancel(job)
    with pytest.raises(ClaimLost):
        claims.hand_over(at_work, DOWNLOAD, 1, State.DONE)
    claims.fail(at_work, ManifestError("late"))
    assert find_kinds(store, job) == ["job.started", "job.cancelled"]


@contextmanager
def telling(store: JobStore, seconds: float) -> Iterator[None]:
    """Let progress be told every so many seconds."""
    before, store.announcements = store.announcements, Announcements(seconds)
    yield
    store.announcements = before


def test_how_far_a_job_is_is_told_from_time_to_time(store: JobStore, claims: Claims, job: Job) -> None:
    at_work = claimed(claims, job, DOWNLOAD)
    with telling(store, 3600):
        for done in range(1, 4):
            claims.record_progress(at_work, done, 9, None)
    started, progress = find_events(store, job.id)
    assert read(progress)["data"]["progress"] == {"stage": "downloading", "done": 1, "total": 9}
    assert started.kind == "job.started"


def test_of_how_far_a_job_is_only_the_newest_is_kept_and_none_at_its_end(
    store: JobStore, claims: Claims, job: Job
) -> None:
    with telling(store, 0):
        at_work = claimed(claims, job, DOWNLOAD)
        for done in range(1, 4):
            claims.record_progress(at_work, done, 9, None)
        assert find_kinds(store, job) == ["job.started", "job.progress"]
        assert read(find_events(store, job.id)[-1])["data"]["progress"]["done"] == 3
        claims.hand_over(at_work, DOWNLOAD, 1)
        claims.record_progress(claimed(claims, job, DETECT), 3, 9, None)  # as far, of another stage
        assert find_kinds(store, job) == ["job.started", "job.progress"]
        claims.fail(store.find(job.id), ManifestError("no"))
    assert find_kinds(store, job) == ["job.started", "job.failed"]


def test_a_retry_is_told_of_anew_and_holds_back_no_event(store: JobStore, claims: Claims, job: Job) -> None:
    claims.fail(claimed(claims, job, DOWNLOAD), ManifestError("no"))
    store.retry(store.find(job.id))
    assert all(event.next_attempt for event in find_events(store, job.id))
    finish(claims, job)
    assert find_kinds(store, job) == ["job.started", "job.failed", "job.started", "job.done"]


def test_the_jobs_of_a_collection_tell_for_themselves(store: JobStore, parts: Parts, claims: Claims, job: Job) -> None:
    at_work = claimed(claims, job, DOWNLOAD)
    for _ in range(2):  # as after a crash in the middle
        parts.split(at_work, *REQUEST.for_manifests(["https://example.org/1", "http://[bad"]))
    claims.hand_over(at_work, DOWNLOAD, 1, State.DONE)
    good, bad = parts.list(job)
    assert (find_kinds(store, good), find_kinds(store, bad)) == ([], ["job.failed"])
    store.cancel(job)
    assert find_kinds(store, good) == ["job.cancelled"]
    assert find_kinds(store, job) == ["job.started", "job.done"]


def test_an_event_says_what_was_true_when_it_happened(
    store: JobStore, claims: Claims, job: Job, queues: Queues
) -> None:
    claims.fail(claimed(claims, job, DOWNLOAD), ManifestError("It is a cake."))
    with store.database.session() as session:
        session.execute(update(Job).values(error_message="another"))
    assert read(find_events(store, job.id)[-1])["data"]["error"]["message"] == "It is a cake."
