import time

import pytest

from app.database.tables import Delivery, Job
from app.errors import LeaseLost, ManifestError, NotFound
from app.jobs import Jobs, State
from app.jobs.requests import DetectionRequest, SearchRequest
from app.jobs.states import DOWNLOAD, FINISHED, UNFINISHED, stage_of
from tests.integration.jobs.conftest import REQUEST, finish, lease, submit
from tests.support.recording_queue import RecordingQueue


def test_cancelling_a_job_ends_the_lease_of_its_stage(jobs: Jobs) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    assert jobs.cancel(job)
    with pytest.raises(LeaseLost):
        jobs.record_progress(job, 1, 2, {})
    jobs.fail(job, ManifestError("late"))
    assert jobs.find(job.id).state == State.CANCELLED
    assert not jobs.cancel(job)


def test_cancelling_a_job_cancels_its_pending_deliveries(jobs: Jobs) -> None:
    job = submit(jobs)
    with jobs.database.session() as session:
        session.add(Delivery(id="d", job_id=job.id, url="https://a.example", next_attempt=time.time()))
    jobs.cancel(job)
    (delivery,) = jobs.deliveries([job])[job.id]
    assert (delivery.status, delivery.next_attempt) == ("cancelled", None)


def test_one_message_is_sent_for_each_job(jobs: Jobs, queue: RecordingQueue) -> None:
    jobs.submit(1, [REQUEST] * 3)
    assert queue.sent == ["io"] * 3


def test_the_job_of_another_client_app_is_not_found(jobs: Jobs) -> None:
    job = submit(jobs)
    assert jobs.find(job.id, 1).id == job.id
    with pytest.raises(NotFound):
        jobs.find(job.id, 2)


def test_jobs_are_listed_newest_first_by_app_and_state(jobs: Jobs) -> None:
    submitted = [submit(jobs) for _ in range(3)]
    submit(jobs, 2)
    jobs.cancel(submitted[0])
    assert [job.id for job in jobs.list_recent(1)] == [job.id for job in reversed(submitted)]
    assert [job.id for job in jobs.list_recent(1, State.CANCELLED)] == [submitted[0].id]
    assert len(jobs.list_recent(1, limit=1)) == 1


def test_every_unfinished_state_has_a_stage() -> None:
    assert all(stage_of(state) for state in UNFINISHED)
    assert not any(stage_of(state) for state in FINISHED)


def test_a_retry_queues_a_finished_job_again(jobs: Jobs, queue: RecordingQueue) -> None:
    job = jobs.find(finish(jobs, submit(jobs)).id)
    assert jobs.retry(job)
    again = jobs.find(job.id)
    assert (again.state, again.retries, again.finished) == (State.QUEUED, 1, None)
    assert queue.sent[-1] == "io"
    assert not jobs.retry(job)  # ``job`` was read before the first retry
    assert jobs.find(finish(jobs, again, failed=0).id).state == State.DONE


def test_a_retry_removes_the_error_of_a_failed_job(jobs: Jobs) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    jobs.fail(job, ManifestError("It is a cake."))
    assert jobs.retry(jobs.find(job.id))
    job = jobs.find(job.id)
    assert (job.state, job.error_code, job.error_message) == (State.QUEUED, None, None)


def add_delivery(jobs: Jobs, job: Job, status: str) -> None:
    with jobs.database.session() as session:
        url = f"https://{status}.example"
        session.add(Delivery(id=status, job_id=job.id, url=url, status=status, next_attempt=time.time()))


def find_deliveries(jobs: Jobs, job: Job) -> dict[str, float | None]:
    return {delivery.status: delivery.next_attempt for delivery in jobs.deliveries([job])[job.id]}


def test_a_retry_holds_back_pending_deliveries(jobs: Jobs) -> None:
    job = jobs.find(finish(jobs, submit(jobs)).id)
    add_delivery(jobs, job, "pending")
    jobs.retry(job)
    assert find_deliveries(jobs, job) == {"pending": None}


def test_a_failed_retry_releases_the_deliveries_of_the_earlier_result(jobs: Jobs) -> None:
    job = jobs.find(finish(jobs, submit(jobs)).id)
    add_delivery(jobs, job, "pending")
    jobs.retry(job)
    jobs.fail(lease(jobs, job, DOWNLOAD), ManifestError("no"))
    assert find_deliveries(jobs, job)["pending"]


def test_the_manifests_of_unfinished_jobs_are_listed(jobs: Jobs) -> None:
    done, waiting = submit(jobs, url="https://example.org/1"), submit(jobs, url="https://example.org/2")
    finish(jobs, done)
    assert jobs.list_unfinished_origins() == {waiting.request["manifest_url"]}
    assert jobs.list_unfinished_origins(apart_from=waiting.id) == set()


def test_jobs_of_a_kind_are_listed_however_many_others_are_newer(jobs: Jobs) -> None:
    oldest = submit(jobs)
    for number in range(3):
        jobs.submit(1, [SearchRequest(f"https://a.example/{number}")])
    assert [job.id for job in jobs.list_recent(1, limit=2, kind=DetectionRequest.kind)] == [oldest.id]
