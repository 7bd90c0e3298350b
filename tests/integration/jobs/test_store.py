import time

import pytest

from app.database.tables import Delivery, Job
from app.errors import BrokerUnavailable, ClaimLost, ManifestError, NotFound
from app.jobs import Claims, JobStore, Stage, State
from app.jobs.states import DOWNLOAD, FINISHED, UNFINISHED, stage_of
from tests.integration.jobs.conftest import REQUEST, Queues, claimed, finish, submit


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
        session.add(Delivery(id="d", job_id=job.id, url="https://a.example", next_attempt=time.time()))
    store.cancel(job)
    (delivery,) = store.deliveries([job])[job.id]
    assert (delivery.status, delivery.next_attempt) == ("cancelled", None)


def test_no_phantom_job_when_the_broker_is_down(store: JobStore, queues: Queues) -> None:
    queues.down = True
    with pytest.raises(BrokerUnavailable):
        store.submit(1, [REQUEST, REQUEST])
    assert store.list_recent(1) == []


def test_jobs_of_which_a_worker_has_taken_one_although_the_broker_did_not_answer_are_accepted(
    store: JobStore, claims: Claims
) -> None:
    def take(stage: Stage, job_id: str) -> None:
        claims.claim(stage, "message")
        raise BrokerUnavailable("It took the message, and did not say so in time.")

    jobs = JobStore(store.database, take).submit(1, [REQUEST] * 3)
    assert {job.id for job in store.list_recent(1)} == {job.id for job in jobs}
    assert len(claims.free_stranded(lambda queue: False)) == 2  # the sweep queues the rest


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


def add_delivery(store: JobStore, job: Job, status: str) -> None:
    with store.database.session() as session:
        url = f"https://{status}.example"
        session.add(Delivery(id=status, job_id=job.id, url=url, status=status, next_attempt=time.time()))


def find_deliveries(store: JobStore, job: Job) -> dict[str, float | None]:
    return {delivery.status: delivery.next_attempt for delivery in store.deliveries([job])[job.id]}


def test_a_retry_holds_back_what_is_still_to_be_delivered(store: JobStore, claims: Claims) -> None:
    job = store.find(finish(claims, submit(store)).id)
    add_delivery(store, job, "pending")
    store.retry(job)
    assert find_deliveries(store, job) == {"pending": None}


def test_a_retry_that_fails_lets_the_earlier_result_be_delivered(store: JobStore, claims: Claims) -> None:
    job = store.find(finish(claims, submit(store)).id)
    add_delivery(store, job, "pending")
    store.retry(job)
    claims.fail(claimed(claims, job, DOWNLOAD, "again"), ManifestError("no"))
    assert find_deliveries(store, job)["pending"]


def test_a_retry_while_the_broker_is_away_changes_nothing(store: JobStore, claims: Claims, queues: Queues) -> None:
    job = store.find(finish(claims, submit(store)).id)
    add_delivery(store, job, "pending")
    queues.down = True
    with pytest.raises(BrokerUnavailable):
        store.retry(job)
    after = store.find(job.id)
    assert (after.state, after.retries, after.finished) == (job.state, job.retries, job.finished)
    assert find_deliveries(store, job)["pending"]


def test_a_retry_that_a_worker_has_taken_although_the_broker_did_not_answer_is_made(
    store: JobStore, claims: Claims
) -> None:
    job = store.find(finish(claims, submit(store)).id)

    def take(stage: Stage, job_id: str) -> None:
        claims.claim(stage, "message")
        raise BrokerUnavailable("It took the message, and did not say so in time.")

    assert JobStore(store.database, take).retry(job)
    assert store.find(job.id).state == State.DOWNLOADING


def test_the_manifests_on_which_jobs_work_are_known(store: JobStore, claims: Claims) -> None:
    done, waiting = submit(store, url="https://example.org/1"), submit(store, url="https://example.org/2")
    finish(claims, done)
    assert store.list_unfinished_manifests() == {waiting.request["manifest_url"]}
    assert store.list_unfinished_manifests(apart_from=waiting.id) == set()
