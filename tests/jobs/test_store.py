import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app.database import Database, Delivery, Job
from app.errors import BrokerUnavailable, ClaimLost, ManifestError, NotFound
from app.jobs import DetectionRequest, JobStore, Stage, State
from app.jobs.states import DELIVER, DETECT, DOWNLOAD, FINISHED, STAGES, UNFINISHED, stage_of

REQUEST = DetectionRequest("https://example.org/manifest.json")


class Queues:
    """Remembers what was sent; refuses everything while it is down."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.down = False

    def send(self, stage: Stage, job_id: str) -> None:
        if self.down:
            raise BrokerUnavailable("down")
        self.sent.append((stage.queue, job_id))


@pytest.fixture
def queues() -> Queues:
    return Queues()


@pytest.fixture
def store(tmp_path: Path, queues: Queues) -> Iterator[JobStore]:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    database.create_tables()
    yield JobStore(database, queues.send, stale_seconds=30, max_starts=2)
    database.close()


def age(store: JobStore, job: Job, seconds: float = 3600) -> None:
    """Make a job's last sign of life older."""
    with store.database.session() as session:
        session.execute(update(Job).where(Job.id == job.id).values(heartbeat=time.time() - seconds))


def submit(store: JobStore, app_id: int = 1) -> Job:
    (job,) = store.submit(app_id, [REQUEST])
    return job


def claimed(store: JobStore, job: Job, stage: Stage, token: str = "message") -> Job:
    found = store.claim(job.id, stage, token)
    assert found is not None
    return found


def start_again(store: JobStore, job: Job, number: int) -> Job:
    """Claim the download after the try before has died."""
    found = store.claim(job.id, DOWNLOAD, f"message:{number}", dead=f"message:{number - 1}")
    assert found is not None
    return found


def test_a_job_goes_through_its_stages_to_done(store: JobStore, queues: Queues) -> None:
    job = submit(store)
    for stage in STAGES:
        job = claimed(store, job, stage)
        assert job.state == stage.state
        store.hand_over(job, stage, 1.5)
    job = store.find(job.id)
    assert (job.state, job.claim) == (State.DONE, None)
    assert job.finished
    assert job.timings == {"downloading": 1.5, "running": 1.5, "delivering": 1.5}
    assert [queue for queue, _ in queues.sent] == ["io", "gpu", "post"]


def test_a_stage_is_claimed_once(store: JobStore) -> None:
    job = submit(store)
    claimed(store, job, DOWNLOAD, "first")
    assert store.claim(job.id, DOWNLOAD, "second") is None


def test_a_stage_out_of_turn_is_not_claimed(store: JobStore) -> None:
    job = submit(store)
    assert store.claim(job.id, DETECT, "a") is None
    store.hand_over(claimed(store, job, DOWNLOAD), DOWNLOAD, 1)
    assert store.claim(job.id, DOWNLOAD, "b") is None
    assert store.claim(job.id, DELIVER, "c") is None


@pytest.mark.parametrize("state", FINISHED)
def test_a_second_message_for_a_finished_job_changes_nothing(store: JobStore, state: State) -> None:
    job = submit(store)
    with store.database.session() as session:
        session.execute(update(Job).values(state=state))
    assert all(store.claim(job.id, stage, "again") is None for stage in STAGES)
    assert store.find(job.id).state == state


def test_the_claim_of_a_dead_worker_is_taken_over_at_once(store: JobStore) -> None:
    job = claimed(store, submit(store), DOWNLOAD, "message:0")
    again = store.claim(job.id, DOWNLOAD, "message:1", dead="message:0")
    assert again is not None
    assert again.starts == 2


def test_the_same_message_again_does_not_disturb_the_worker_that_has_it(store: JobStore) -> None:
    job = claimed(store, submit(store), DOWNLOAD, "message:0")
    for _ in range(3):
        assert store.claim(job.id, DOWNLOAD, "message:0", dead="message:-1") is None
    store.beat(job)


def test_a_released_claim_is_queued_again_and_does_not_count(store: JobStore, queues: Queues) -> None:
    job = claimed(store, submit(store), DOWNLOAD, "message:0")
    store.release("message:0")
    assert queues.sent == [("io", job.id), ("io", job.id)]
    with pytest.raises(ClaimLost):
        store.beat(job)
    assert claimed(store, job, DOWNLOAD, "other:0").starts == 1
    store.release("unknown:0")


def test_a_stale_claim_is_taken_over_and_the_old_owner_learns_it(store: JobStore) -> None:
    first = claimed(store, submit(store), DOWNLOAD, "first")
    age(store, first)
    second = claimed(store, first, DOWNLOAD, "second")
    with pytest.raises(ClaimLost):
        store.beat(first)
    with pytest.raises(ClaimLost):
        store.hand_over(first, DOWNLOAD, 1)
    store.beat(second)


def test_a_stage_that_kills_its_worker_twice_fails_the_job(store: JobStore) -> None:
    job = submit(store)
    start_again(store, job, 0)
    start_again(store, job, 1)
    assert store.claim(job.id, DOWNLOAD, "message:2", dead="message:1") is None
    job = store.find(job.id)
    assert (job.state, job.error_code) == (State.FAILED, "worker_lost")


def test_getting_on_counts_as_a_fresh_start(store: JobStore) -> None:
    job = submit(store)
    for done in range(1, 6):
        store.record_progress(start_again(store, job, done), done, 10, {})
    assert store.find(job.id).state == State.DOWNLOADING


def test_reporting_the_same_progress_is_not_getting_on(store: JobStore) -> None:
    job = submit(store)
    for number in range(2):
        store.record_progress(start_again(store, job, number), 0, 10, None)
    assert store.claim(job.id, DOWNLOAD, "message:2", dead="message:1") is None
    assert store.find(job.id).state == State.FAILED


def test_cancel_takes_the_job_from_the_stage_at_work(store: JobStore) -> None:
    job = claimed(store, submit(store), DOWNLOAD)
    assert store.cancel(job)
    with pytest.raises(ClaimLost):
        store.record_progress(job, 1, 2, {})
    store.fail(job, ManifestError("late"))
    assert store.find(job.id).state == State.CANCELLED
    assert not store.cancel(job)


def test_a_cancelled_job_sends_nothing_more(store: JobStore) -> None:
    job = submit(store)
    with store.database.session() as session:
        session.add(Delivery(id="d", job_id=job.id, url="https://a.example"))
    store.cancel(job)
    (delivery,) = store.deliveries([job])[job.id]
    assert (delivery.status, delivery.next_attempt) == ("cancelled", None)


def test_a_failed_stage_says_why(store: JobStore) -> None:
    job = claimed(store, submit(store), DOWNLOAD)
    store.fail(job, ManifestError("It is a cake."))
    job = store.find(job.id)
    assert (job.state, job.error_code, job.error_message) == (State.FAILED, "bad_manifest", "It is a cake.")


def test_no_phantom_job_when_the_broker_is_down(store: JobStore, queues: Queues) -> None:
    queues.down = True
    with pytest.raises(BrokerUnavailable):
        store.submit(1, [REQUEST, REQUEST])
    assert store.list_recent(1) == []


def test_a_broker_that_goes_away_in_the_middle_of_a_list_loses_nothing(store: JobStore, queues: Queues) -> None:
    real_send = queues.send

    def send_one(stage: Stage, job_id: str) -> None:
        real_send(stage, job_id)
        queues.down = True

    queues.send = send_one  # type: ignore[method-assign]
    jobs = JobStore(store.database, lambda stage, job_id: queues.send(stage, job_id), 30, 2).submit(1, [REQUEST] * 3)
    assert len(queues.sent) == 1
    assert {job.id for job in store.list_recent(1)} == {job.id for job in jobs}
    for job in jobs:
        age(store, job)
    assert len(store.free_stranded(lambda queue: True)) == 3


def test_a_broker_that_is_away_at_the_hand_over_loses_nothing(store: JobStore, queues: Queues) -> None:
    job = claimed(store, submit(store), DOWNLOAD)
    queues.down = True
    with pytest.raises(BrokerUnavailable):
        store.hand_over(job, DOWNLOAD, 1)
    age(store, job)
    assert [found.id for found in store.free_stranded(lambda queue: True)] == [job.id]
    claimed(store, job, DETECT)


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


def test_a_waiting_job_is_left_alone_while_its_queue_holds_messages(store: JobStore) -> None:
    job = submit(store)
    age(store, job)
    assert store.free_stranded(lambda queue: False) == []
    assert [found.id for found in store.free_stranded(lambda queue: queue == "io")] == [job.id]


def test_a_stranded_job_is_found_once(store: JobStore) -> None:
    job = claimed(store, submit(store), DOWNLOAD)
    age(store, job)
    assert len(store.free_stranded(lambda queue: False)) == 1
    assert store.free_stranded(lambda queue: False) == []


def test_every_unfinished_state_has_a_stage() -> None:
    assert all(stage_of(state) for state in UNFINISHED)
    assert not any(stage_of(state) for state in FINISHED)
