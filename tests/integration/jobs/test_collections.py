import pytest

from app.database.tables import Job
from app.errors import LeaseLost, ManifestError
from app.jobs import Jobs, State
from app.jobs.requests import DetectionRequest
from app.jobs.states import DOWNLOAD
from tests.integration.jobs.conftest import finish, lease
from tests.support.recording_queue import RecordingQueue


def build_collection(jobs: Jobs) -> tuple[Job, DetectionRequest]:
    request = DetectionRequest("https://example.org/collection.json", callback="https://app.example/a")
    (job,) = jobs.submit(7, [request])
    return lease(jobs, job, DOWNLOAD), request


def test_every_manifest_of_a_collection_becomes_a_job(jobs: Jobs, queue: RecordingQueue) -> None:
    job, request = build_collection(jobs)
    urls = [f"https://example.org/{number}.json" for number in range(3)]
    for _ in range(2):  # the second call is as after a crash
        jobs.expand(job, *request.for_manifests([*urls, "http://[bad/2"]))
    jobs.finish_stage(job, DOWNLOAD, 1, State.DONE)
    *good, refused = jobs.list_parts(job)
    assert [part.request["manifest_url"] for part in good] == urls
    assert {(part.app_id, part.request["callback"]) for part in good} == {(7, "https://app.example/a")}
    assert queue.sent == ["io"] * 4  # the collection and three manifests
    assert (refused.state, refused.error_code) == (State.FAILED, "bad_request")
    assert "http://[bad/2" in (refused.error_message or "")
    job = jobs.find(job.id)
    assert (job.state, job.kind, job.done, job.total) == (State.DONE, "collection", 4, 4)


def test_a_cancelled_collection_adds_no_jobs(jobs: Jobs) -> None:
    job, request = build_collection(jobs)
    jobs.cancel(job)
    with pytest.raises(LeaseLost):
        jobs.expand(job, *request.for_manifests(["https://example.org/1"]))
    assert jobs.list_parts(job) == []


def test_a_collection_is_cancelled_with_its_parts(jobs: Jobs) -> None:
    job, request = build_collection(jobs)
    jobs.expand(job, *request.for_manifests([f"https://example.org/{number}" for number in range(3)]))
    jobs.finish_stage(job, DOWNLOAD, 1, State.DONE)
    finish(jobs, jobs.list_parts(job)[0])
    assert jobs.cancel(jobs.find(job.id)) == 2
    assert [part.state for part in jobs.list_parts(job)] == ["done", "cancelled", "cancelled"]


def test_a_retry_of_a_collection_repeats_failed_and_cancelled_parts(jobs: Jobs, queue: RecordingQueue) -> None:
    job, request = build_collection(jobs)
    urls = [f"https://{number}.example/1" for number in range(4)]
    jobs.expand(job, *request.for_manifests([*urls, "http://[bad/2"]))
    jobs.finish_stage(job, DOWNLOAD, 1, State.DONE)
    whole, lacking, failed, *_ = jobs.list_parts(job)
    finish(jobs, whole, failed=0)
    finish(jobs, lacking, failed=1)
    jobs.fail(lease(jobs, failed, DOWNLOAD), ManifestError("no"))
    jobs.cancel(jobs.find(job.id))
    queue.sent.clear()
    assert jobs.retry_parts(jobs.find(job.id)) == 3
    assert queue.sent == ["io"] * 3
    assert [part.state for part in jobs.list_parts(job)] == ["done", "queued", "queued", "queued", "failed"]
    assert jobs.retry_parts(jobs.find(job.id)) == 0


def test_a_cancelled_collection_is_done_when_its_parts_are_retried(jobs: Jobs) -> None:
    job, request = build_collection(jobs)
    jobs.expand(job, *request.for_manifests(["https://example.org/1"]))
    jobs.cancel(job)
    assert jobs.retry_parts(jobs.find(job.id)) == 1
    assert [part.state for part in jobs.list_parts(job)] == ["queued"]
    assert jobs.find(job.id).state == State.DONE
