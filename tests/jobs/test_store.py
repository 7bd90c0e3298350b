import pytest

from app.database import Delivery, Job
from app.errors import BrokerUnavailable, ClaimLost, ManifestError, NotFound
from app.jobs import Claims, DetectionRequest, JobStore, State
from app.jobs.states import DOWNLOAD, FINISHED, STAGES, UNFINISHED, stage_of
from tests.jobs.conftest import REQUEST, Queues, age, claimed, submit


def test_cancel_takes_the_job_from_the_stage_at_work(store: JobStore, claims: Claims) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    assert store.cancel(job)
    with pytest.raises(ClaimLost):
        claims.record_progress(job, 1, 2, {})
    claims.fail(job, ManifestError("late"))
    assert store.find(job.id).state == State.CANCELLED
    assert not store.cancel(job)


def test_a_cancelled_job_sends_nothing_more(store: JobStore) -> None:
    job = submit(store)
    with store.database.session() as session:
        session.add(Delivery(id="d", job_id=job.id, url="https://a.example"))
    store.cancel(job)
    (delivery,) = store.deliveries([job])[job.id]
    assert (delivery.status, delivery.next_attempt) == ("cancelled", None)


def test_no_phantom_job_when_the_broker_is_down(store: JobStore, queues: Queues) -> None:
    queues.down = True
    with pytest.raises(BrokerUnavailable):
        store.submit(1, [REQUEST, REQUEST])
    assert store.list_recent(1) == []


def test_another_apps_job_reads_as_absent(store: JobStore) -> None:
    job = submit(store)
    assert store.find(job.id, 1).id == job.id
    with pytest.raises(NotFound):
        store.find(job.id, 2)


def test_jobs_are_listed_newest_first_by_app_and_state(store: JobStore) -> None:
    jobs = [submit(store) for _ in range(3)]
    submit(store, 2)
    store.cancel(jobs[0])
    assert [job.id for job in store.list_recent(1)] == [job.id for job in reversed(jobs)]
    assert [job.id for job in store.list_recent(1, State.CANCELLED)] == [jobs[0].id]
    assert len(store.list_recent(1, limit=1)) == 1


def test_every_unfinished_state_has_a_stage() -> None:
    assert all(stage_of(state) for state in UNFINISHED)
    assert not any(stage_of(state) for state in FINISHED)


def finish(claims: Claims, job: Job, failed: int = 1) -> Job:
    """Take a job to its end, with some canvases that could not be fetched."""
    coverage = {"detected": 2, "empty": 0, "failed": [{"canvas_number": 3, "reason": "gone"}] * failed}
    for stage in STAGES:
        job = claimed(claims, job, stage)
        claims.record_progress(job, 3, 3, coverage)
        claims.hand_over(job, stage, 1)
    return job


def test_a_retry_queues_a_finished_job_once_more(store: JobStore, claims: Claims, queues: Queues) -> None:
    job = store.find(finish(claims, submit(store)).id)
    assert store.retry(job)
    again = store.find(job.id)
    assert (again.state, again.retries, again.finished) == (State.QUEUED, 1, None)
    assert queues.sent[-1] == ("io", job.id)
    assert not store.retry(job)  # as it was seen before
    assert store.find(finish(claims, again, failed=0).id).state == State.DONE


def test_a_failed_job_that_is_tried_again_forgets_its_error(store: JobStore, claims: Claims) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    claims.fail(job, ManifestError("It is a cake."))
    assert store.retry(store.find(job.id))
    job = store.find(job.id)
    assert (job.state, job.error_code, job.error_message) == (State.QUEUED, None, None)


def test_the_deliveries_of_a_retry_wait_for_the_new_result_under_other_ids(store: JobStore, claims: Claims) -> None:
    job = store.find(finish(claims, submit(store)).id)
    with store.database.session() as session:
        session.add(Delivery(id="old", job_id=job.id, url="https://a.example", status="delivered", attempts=1))
    store.retry(job)
    (delivery,) = store.deliveries([job])[job.id]
    assert delivery.id != "old"
    assert (delivery.status, delivery.attempts, delivery.next_attempt) == ("pending", 0, None)


def test_a_retry_while_the_broker_is_away_is_queued_later(store: JobStore, claims: Claims, queues: Queues) -> None:
    job = store.find(finish(claims, submit(store)).id)
    queues.down = True
    assert store.retry(job)
    age(store, job)
    assert [freed.id for freed in claims.free_stranded(lambda queue: True)] == [job.id]


def test_every_manifest_of_a_collection_is_a_job_of_its_own(store: JobStore, claims: Claims, queues: Queues) -> None:
    request = DetectionRequest("https://example.org/collection.json", callback="https://app.example/a")
    (job,) = store.submit(7, [request])
    job = claimed(claims, job, DOWNLOAD)
    urls = [f"https://example.org/{number}.json" for number in range(3)]
    for _ in range(2):  # as after a crash in the middle
        store.split(job, [request.for_manifest(url) for url in urls])
    claims.hand_over(job, DOWNLOAD, 1, State.DONE)
    parts = store.list_parts(job)
    assert [part.request["manifest_url"] for part in parts] == urls
    assert {(part.app_id, part.request["callback"]) for part in parts} == {(7, "https://app.example/a")}
    assert [job_id for _, job_id in queues.sent[1:4]] == [part.id for part in parts]
    job = store.find(job.id)
    assert (job.state, job.kind, job.done, job.total) == (State.DONE, "collection", 3, 3)


def test_the_manifests_on_which_jobs_work_are_known(store: JobStore, claims: Claims) -> None:
    done, waiting = submit(store, url="https://example.org/1"), submit(store, url="https://example.org/2")
    finish(claims, done)
    assert store.list_unfinished_manifests() == {waiting.request["manifest_url"]}
