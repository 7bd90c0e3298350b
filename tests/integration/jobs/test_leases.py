import pytest
from sqlalchemy import update

from app.database.tables import Job
from app.errors import BrokerUnavailable, ClaimLost, ManifestError
from app.jobs import Claims, JobStore, Stage, State
from app.jobs.leases import MOST_TRIES
from app.jobs.processes import name_worker
from app.jobs.states import DELIVER, DETECT, DOWNLOAD, FINISHED, STAGES
from tests.integration.jobs.conftest import REQUEST, Queues, age, claimed, die, start_again, submit


def test_a_job_goes_through_its_stages_to_done(store: JobStore, claims: Claims, queues: Queues) -> None:
    job = submit(store)
    for stage in STAGES:
        job = claimed(claims, job, stage)
        assert job.state == stage.state
        claims.hand_over(job, stage, 1.5)
    job = store.find(job.id)
    assert (job.state, job.claim) == (State.DONE, None)
    assert job.finished
    assert job.timings == {"downloading": 1.5, "running": 1.5, "delivering": 1.5}
    assert [queue for queue, _ in queues.sent] == ["io", "gpu", "post"]


def test_a_stage_is_claimed_once(store: JobStore, claims: Claims) -> None:
    job = submit(store)
    claimed(claims, job, DOWNLOAD, "first")
    assert claims.claim(DOWNLOAD, "second") is None


def test_a_stage_out_of_turn_is_not_claimed(store: JobStore, claims: Claims) -> None:
    job = submit(store)
    assert claims.claim(DETECT, "a") is None
    claims.hand_over(claimed(claims, job, DOWNLOAD), DOWNLOAD, 1)
    assert claims.claim(DOWNLOAD, "b") is None
    assert claims.claim(DELIVER, "c") is None


@pytest.mark.parametrize("state", FINISHED)
def test_a_second_message_for_a_finished_job_changes_nothing(store: JobStore, claims: Claims, state: State) -> None:
    job = submit(store)
    with store.database.session() as session:
        session.execute(update(Job).values(state=state))
    assert all(claims.claim(stage, "again") is None for stage in STAGES)
    assert store.find(job.id).state == state


def test_the_claim_of_a_dead_worker_is_taken_over_at_once(store: JobStore, claims: Claims) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    die(store, job)
    assert claimed(claims, job, DOWNLOAD, retries=1).tries == 2


def test_a_message_that_comes_again_disturbs_no_worker_that_lives(store: JobStore, claims: Claims) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    for retries in (0, 0, 1):
        assert claims.claim(DOWNLOAD, "message", retries) is None
    claims.beat(job)


def test_a_released_claim_is_queued_again_and_does_not_count(store: JobStore, claims: Claims, queues: Queues) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    claims.release("message", 0, name_worker())
    assert queues.sent == [("io", job.id), ("io", job.id)]
    with pytest.raises(ClaimLost):
        claims.beat(job)
    assert claimed(claims, job, DOWNLOAD, "other").tries == 1
    claims.release("unknown", 0, name_worker())


def test_a_stale_claim_is_taken_over_and_the_old_owner_learns_it(store: JobStore, claims: Claims) -> None:
    first = claimed(claims, submit(store), DOWNLOAD, "first")
    age(store, first)
    second = claimed(claims, first, DOWNLOAD, "second")
    with pytest.raises(ClaimLost):
        claims.beat(first)
    with pytest.raises(ClaimLost):
        claims.hand_over(first, DOWNLOAD, 1)
    claims.beat(second)


def test_a_stage_that_kills_its_worker_twice_fails_the_job(store: JobStore, claims: Claims) -> None:
    job = submit(store)
    start_again(store, claims, job, 0)
    start_again(store, claims, job, 1)
    die(store, job)
    assert claims.claim(DOWNLOAD, "message", 2) is None
    job = store.find(job.id)
    assert (job.state, job.error_code) == (State.FAILED, "worker_lost")


def test_a_worker_that_is_killed_before_the_first_page_may_try_again(store: JobStore, claims: Claims) -> None:
    job = submit(store)
    for number in range(MOST_TRIES):
        claimed(claims, job, DOWNLOAD, retries=number)
        die(store, job)
    assert claims.claim(DOWNLOAD, "message", MOST_TRIES) is None
    assert store.find(job.id).error_code == "worker_lost"


def test_a_job_whose_process_is_gone_is_freed_at_once(store: JobStore, claims: Claims) -> None:
    gone, alive = (claimed(claims, submit(store), DOWNLOAD) for _ in range(2))
    die(store, gone)
    assert [job.id for job in claims.free_stranded(lambda queue: False)] == [gone.id]
    claims.beat(alive)


def test_a_worker_of_another_machine_is_known_by_its_heartbeat_only(store: JobStore, claims: Claims) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    store.change(job.id, Job.id == job.id, worker="elsewhere:999999")
    assert claims.free_stranded(lambda queue: False) == []


def test_getting_on_counts_as_a_fresh_start(store: JobStore, claims: Claims) -> None:
    job = submit(store)
    for done in range(1, 6):
        claims.record_progress(start_again(store, claims, job, done - 1), done, 10, {})
    assert store.find(job.id).state == State.DOWNLOADING


def test_reporting_the_same_progress_is_not_getting_on(store: JobStore, claims: Claims) -> None:
    job = submit(store)
    for number in range(2):
        claims.record_progress(start_again(store, claims, job, number), 0, 10, None)
    die(store, job)
    assert claims.claim(DOWNLOAD, "message", 2) is None
    assert store.find(job.id).state == State.FAILED


def test_to_count_again_after_an_interruption_is_not_getting_on(store: JobStore, claims: Claims) -> None:
    job = submit(store)
    for number in range(2):  # pages 1 to 4 are gone from the cache and pass at once; the fifth kills
        at_work = start_again(store, claims, job, number)
        for done in range(5):
            claims.record_progress(at_work, done, 10, None)
    assert store.find(job.id).done == 4
    claims.record_progress(at_work, 0, 10, None)
    assert store.find(job.id).done == 4
    die(store, job)
    assert claims.claim(DOWNLOAD, "message", 2) is None
    assert store.find(job.id).error_code == "worker_lost"


def test_a_failed_stage_says_why(store: JobStore, claims: Claims) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    claims.fail(job, ManifestError("It is a cake."))
    job = store.find(job.id)
    assert (job.state, job.error_code, job.error_message) == (State.FAILED, "bad_manifest", "It is a cake.")


def test_a_broker_that_goes_away_in_the_middle_of_a_list_loses_nothing(
    store: JobStore, claims: Claims, queues: Queues
) -> None:
    real_send = queues.send

    def send_one(stage: Stage, job_id: str) -> None:
        real_send(stage, job_id)
        queues.down = True

    queues.send = send_one  # type: ignore[method-assign]
    jobs = JobStore(store.database, lambda stage, job_id: queues.send(stage, job_id)).submit(1, [REQUEST] * 3)
    assert len(queues.sent) == 1
    assert {job.id for job in store.list_recent(1)} == {job.id for job in jobs}
    for job in jobs:
        age(store, job)
    assert len(claims.free_stranded(lambda queue: True)) == 2  # as many as their host has room for


def test_a_broker_that_is_away_at_the_hand_over_loses_nothing(store: JobStore, claims: Claims, queues: Queues) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    queues.down = True
    with pytest.raises(BrokerUnavailable):
        claims.hand_over(job, DOWNLOAD, 1)
    age(store, job)
    assert [found.id for found in claims.free_stranded(lambda queue: True)] == [job.id]
    claimed(claims, job, DETECT)


def test_a_waiting_job_is_left_alone_while_its_queue_holds_messages(store: JobStore, claims: Claims) -> None:
    job = submit(store)
    age(store, job)
    assert claims.free_stranded(lambda queue: False) == []
    assert [found.id for found in claims.free_stranded(lambda queue: queue == "io")] == [job.id]


def test_a_stranded_job_is_found_once(store: JobStore, claims: Claims) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    age(store, job)
    assert len(claims.free_stranded(lambda queue: False)) == 1
    assert claims.free_stranded(lambda queue: False) == []


def test_one_host_does_not_take_every_place(store: JobStore, claims: Claims) -> None:
    slow = [submit(store, url=f"https://slow.example/{number}") for number in range(3)]
    quick = submit(store, url="https://quick.example/1")
    for job in (*slow[:2], quick):
        claimed(claims, job, DOWNLOAD)
    assert claims.claim(DOWNLOAD, "early") is None
    assert store.find(slow[2].id).state == State.QUEUED


@pytest.mark.parametrize("ending", ["hand_over", "fail", "cancel"])
def test_the_job_that_waits_for_its_host_is_queued_when_another_ends(
    store: JobStore, claims: Claims, queues: Queues, ending: str
) -> None:
    jobs = [submit(store) for _ in range(4)]
    first, second = (claimed(claims, job, DOWNLOAD, job.id) for job in jobs[:2])
    assert claims.claim(DOWNLOAD, "early") is None
    queues.sent.clear()
    if ending == "hand_over":
        claims.hand_over(first, DOWNLOAD, 1)
    elif ending == "fail":
        claims.fail(first, ManifestError("no"))
    else:
        store.cancel(first)
    claims.fail(second, ManifestError("no"))
    assert [queue for queue, _ in queues.sent if queue == "io"] == ["io", "io"]  # each end makes a place for another
    claimed(claims, jobs[2], DOWNLOAD, "now")
    claimed(claims, jobs[3], DOWNLOAD, "now too")


def test_a_dead_workers_download_holds_no_place(store: JobStore, claims: Claims) -> None:
    for job in [claimed(claims, submit(store), DOWNLOAD) for _ in range(2)]:
        age(store, job)
    assert claims.claim(DOWNLOAD, "message") is not None


def test_no_more_stranded_downloads_are_queued_than_their_host_has_room_for(store: JobStore, claims: Claims) -> None:
    jobs = [submit(store) for _ in range(5)]
    claimed(claims, jobs[0], DOWNLOAD)
    for job in jobs[1:]:
        age(store, job)
    assert len(claims.free_stranded(lambda queue: True)) == 1


def test_a_download_that_kills_its_worker_makes_room_for_the_next(store: JobStore, claims: Claims) -> None:
    killer, waiting = submit(store), submit(store)
    for number in range(2):
        start_again(store, claims, killer, number)
    die(store, killer)
    found = claims.claim(DOWNLOAD, "message", 2)
    assert found is not None
    assert found.id == waiting.id
    assert store.find(killer.id).state == State.FAILED


def test_a_job_that_could_not_be_sent_is_sent_by_the_sweep_whatever_its_queue_holds(
    store: JobStore, claims: Claims, queues: Queues
) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    queues.down = True
    with pytest.raises(BrokerUnavailable):
        claims.hand_over(job, DOWNLOAD, 1)
    assert [freed.id for freed in claims.free_stranded(lambda queue: False)] == [job.id]


def test_of_a_message_given_out_twice_each_worker_gives_back_its_own(store: JobStore, claims: Claims) -> None:
    mine, another = (claimed(claims, submit(store), DOWNLOAD) for _ in range(2))
    assert mine.claim != another.claim
    store.change(another.id, Job.id == another.id, worker="elsewhere:1")
    claims.release("message", 0, name_worker())
    assert store.find(mine.id).claim is None
    claims.beat(another)


def spend(store: JobStore, job: Job, seconds: float, what: str) -> None:
    """Let a stage have been at work for some seconds more."""
    store.change(job.id, Job.id == job.id, **{what: getattr(Job, what) + seconds})


@pytest.mark.parametrize(("what", "reason"), [("worked", "longer than 2 hours"), ("stalled", "for 30 minutes")])
def test_a_stage_that_takes_too_long_fails_its_job(store: JobStore, claims: Claims, what: str, reason: str) -> None:
    job, quick = (claimed(claims, submit(store), DOWNLOAD) for _ in range(2))
    spend(store, job, 2 * 3600 + 1, what)
    assert [each.id for each in claims.end_overdue(DOWNLOAD, 2, 30)] == [job.id]
    ended = store.find(job.id)
    assert (ended.state, ended.error_code) == (State.FAILED, "time_limit")
    assert reason in (ended.error_message or "")
    with pytest.raises(ClaimLost):
        claims.beat(job)
    claims.beat(quick)


@pytest.mark.parametrize("reports", [False, True])
def test_the_time_at_work_is_counted_by_heartbeats(store: JobStore, claims: Claims, reports: bool) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    for _ in range(5):
        age(store, job, 20)
        if reports:
            claims.record_progress(job, 0, 10, None)  # twice a second, and gets nowhere
        else:
            claims.beat(job)
    row = store.find(job.id)
    assert row.worked == pytest.approx(100, abs=5)
    assert row.stalled == pytest.approx(100, abs=5)


def test_a_long_stage_that_gets_on_is_left_alone(store: JobStore, claims: Claims) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    spend(store, job, 3600, "worked")
    spend(store, job, 3600, "stalled")
    claims.record_progress(job, 1, 10, None)
    assert claims.end_overdue(DOWNLOAD, 2, 30) == []


def test_the_time_for_which_the_power_was_off_does_not_count(store: JobStore, claims: Claims) -> None:
    job = start_again(store, claims, submit(store), 0)
    age(store, job, 48 * 3600)  # its heartbeat, when everything comes up again
    assert claims.end_overdue(DOWNLOAD, 2, 30) == []
    assert [found.id for found in claims.free_stranded(lambda queue: True)] == [job.id]
    job = claimed(claims, job, DOWNLOAD, "after")
    claims.beat(job)
    assert claims.end_overdue(DOWNLOAD, 2, 30) == []


@pytest.mark.parametrize("seconds", [-1e6, 1e9])
def test_a_clock_that_is_set_counts_for_nothing(store: JobStore, claims: Claims, seconds: float) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    age(store, job, seconds)
    claims.beat(job)
    assert store.find(job.id).worked == pytest.approx(0, abs=5)


def test_a_stage_that_was_killed_is_timed_from_its_first_start(store: JobStore, claims: Claims) -> None:
    job = start_again(store, claims, submit(store), 0)
    spend(store, job, 2 * 3600 + 1, "worked")
    start_again(store, claims, job, 1)
    assert len(claims.end_overdue(DOWNLOAD, 2, 30)) == 1


@pytest.mark.parametrize("ending", ["hand_over", "retry"])
def test_the_time_of_a_stage_begins_anew_with_the_next(store: JobStore, claims: Claims, ending: str) -> None:
    job = claimed(claims, submit(store), DOWNLOAD)
    spend(store, job, 2 * 3600 + 1, "worked")
    if ending == "hand_over":
        claims.hand_over(job, DOWNLOAD, 1)
        claimed(claims, job, DETECT)
    else:
        claims.end_overdue(DOWNLOAD, 2, 30)
        store.retry(store.find(job.id))
        claimed(claims, job, DOWNLOAD)
    assert claims.end_overdue(DOWNLOAD, 2, 30) == claims.end_overdue(DETECT, 2, 30) == []
