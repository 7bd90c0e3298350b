import pytest

from app.database.tables import Job
from app.errors import BrokerUnavailable, ClaimLost, ManifestError
from app.jobs import Claims, DetectionRequest, JobStore, Parts, State
from app.jobs.states import DOWNLOAD
from tests.integration.jobs.conftest import Queues, claimed, finish


def build_collection(store: JobStore, claims: Claims) -> tuple[Job, DetectionRequest]:
    request = DetectionRequest("https://example.org/collection.json", callback="https://app.example/a")
    (job,) = store.submit(7, [request])
    return claimed(claims, job, DOWNLOAD), request


def test_every_manifest_of_a_collection_is_a_job_of_its_own(
    store: JobStore, parts: Parts, claims: Claims, queues: Queues
) -> None:
    job, request = build_collection(store, claims)
    urls = [f"https://example.org/{number}.json" for number in range(3)]
    for _ in range(2):  # as after a crash in the middle
        parts.split(job, *request.for_manifests([*urls, "http://[bad/2"]))
    claims.hand_over(job, DOWNLOAD, 1, State.DONE)
    *good, refused = parts.list(job)
    assert [part.request["manifest_url"] for part in good] == urls
    assert {(part.app_id, part.request["callback"]) for part in good} == {(7, "https://app.example/a")}
    assert [job_id for _, job_id in queues.sent[1:4]] == [part.id for part in good]
    assert (refused.state, refused.error_code) == (State.FAILED, "bad_request")
    assert "http://[bad/2" in (refused.error_message or "")
    job = store.find(job.id)
    assert (job.state, job.kind, job.done, job.total) == (State.DONE, "collection", 4, 4)


def test_the_parts_of_a_collection_are_queued_later_when_the_broker_is_away(
    store: JobStore, parts: Parts, claims: Claims, queues: Queues
) -> None:
    job, request = build_collection(store, claims)
    queues.down = True
    parts.split(job, *request.for_manifests([f"https://{number}.example/1" for number in range(3)]))
    claims.hand_over(job, DOWNLOAD, 1, State.DONE)
    freed = claims.free_stranded(lambda queue: False)
    assert {part.id for part in freed} == {part.id for part in parts.list(job)}


def test_a_collection_that_was_cancelled_meanwhile_makes_no_job(store: JobStore, parts: Parts, claims: Claims) -> None:
    job, request = build_collection(store, claims)
    store.cancel(job)
    with pytest.raises(ClaimLost):
        parts.split(job, *request.for_manifests(["https://example.org/1"]))
    assert parts.list(job) == []


def test_a_collection_is_cancelled_with_its_parts(store: JobStore, parts: Parts, claims: Claims) -> None:
    job, request = build_collection(store, claims)
    parts.split(job, *request.for_manifests([f"https://example.org/{number}" for number in range(3)]))
    claims.hand_over(job, DOWNLOAD, 1, State.DONE)
    finish(claims, parts.list(job)[0])
    assert store.cancel(store.find(job.id)) == 2
    assert [part.state for part in parts.list(job)] == ["done", "cancelled", "cancelled"]


def test_what_was_cancelled_or_failed_in_a_collection_is_tried_again(
    store: JobStore, parts: Parts, claims: Claims, queues: Queues
) -> None:
    job, request = build_collection(store, claims)
    urls = [f"https://{number}.example/1" for number in range(4)]
    parts.split(job, *request.for_manifests([*urls, "http://[bad/2"]))
    claims.hand_over(job, DOWNLOAD, 1, State.DONE)
    whole, lacking, failed, cancelled, _ = parts.list(job)
    finish(claims, whole, failed=0)
    finish(claims, lacking, failed=1)
    claims.fail(claimed(claims, failed, DOWNLOAD), ManifestError("no"))
    store.cancel(store.find(job.id))
    queues.sent.clear()
    assert parts.retry(store.find(job.id)) == 3
    assert [job_id for _, job_id in queues.sent] == [lacking.id, failed.id, cancelled.id]
    assert [part.state for part in parts.list(job)] == ["done", "queued", "queued", "queued", "failed"]
    assert parts.retry(store.find(job.id)) == 0


def test_a_collection_that_was_cancelled_at_the_last_moment_is_done_when_its_parts_go_on(
    store: JobStore, parts: Parts, claims: Claims
) -> None:
    job, request = build_collection(store, claims)
    parts.split(job, *request.for_manifests(["https://example.org/1"]))
    store.cancel(job)
    assert parts.retry(store.find(job.id)) == 1
    assert [part.state for part in parts.list(job)] == ["queued"]
    assert store.find(job.id).state == State.DONE


def test_the_parts_that_a_broker_does_not_take_stay_as_they_are(
    store: JobStore, parts: Parts, claims: Claims, queues: Queues
) -> None:
    job, request = build_collection(store, claims)
    parts.split(job, *request.for_manifests([f"https://{number}.example/1" for number in range(2)]))
    claims.hand_over(job, DOWNLOAD, 1, State.DONE)
    store.cancel(store.find(job.id))
    queues.down = True
    with pytest.raises(BrokerUnavailable):
        parts.retry(store.find(job.id))
    assert [part.state for part in parts.list(job)] == ["cancelled", "cancelled"]
