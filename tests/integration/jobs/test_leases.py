import pytest
from sqlalchemy import update

from app.database.tables import Job
from app.errors import DeviceLost, LeaseLost, ManifestError
from app.jobs import Jobs, State
from app.jobs.leases import MOST_TRIES
from app.jobs.processes import name_process
from app.jobs.requests import TrainingRequest
from app.jobs.states import DELIVER, DOWNLOAD, FINISHED, RUN, STAGES
from tests.integration.jobs.conftest import age, change, die, lease, start_again, submit
from tests.support.recording_queue import RecordingQueue


def test_a_job_goes_through_its_stages_to_done(jobs: Jobs, queue: RecordingQueue) -> None:
    job = submit(jobs)
    for stage in STAGES:
        job = lease(jobs, job, stage)
        assert job.state == stage.state
        jobs.finish_stage(job, stage, 1.5)
    job = jobs.find(job.id)
    assert (job.state, job.lease) == (State.DONE, None)
    assert job.finished
    assert job.timings == {"downloading": 1.5, "running": 1.5, "delivering": 1.5}
    assert queue.sent == ["io", "gpu", "post"]


def test_a_stage_is_leased_once(jobs: Jobs) -> None:
    job = submit(jobs)
    lease(jobs, job, DOWNLOAD)
    assert jobs.lease_next(DOWNLOAD) is None


def test_only_the_current_stage_of_a_job_is_leased(jobs: Jobs) -> None:
    job = submit(jobs)
    assert jobs.lease_next(RUN) is None
    jobs.finish_stage(lease(jobs, job, DOWNLOAD), DOWNLOAD, 1)
    assert jobs.lease_next(DOWNLOAD) is None
    assert jobs.lease_next(DELIVER) is None


@pytest.mark.parametrize("state", FINISHED)
def test_a_finished_job_is_not_leased(jobs: Jobs, state: State) -> None:
    job = submit(jobs)
    with jobs.database.session() as session:
        session.execute(update(Job).values(state=state))
    assert all(jobs.lease_next(stage) is None for stage in STAGES)
    assert jobs.find(job.id).state == state


def test_the_job_of_a_dead_worker_is_freed_and_continues(jobs: Jobs) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    die(jobs, job)
    assert jobs.lease_next(DOWNLOAD) is None
    assert [freed.id for freed in jobs.free_abandoned()] == [job.id]
    assert lease(jobs, job, DOWNLOAD).tries == 2


def test_a_released_lease_wakes_another_worker_and_does_not_count(jobs: Jobs, queue: RecordingQueue) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    jobs.release({name_process()})
    assert queue.sent == ["io", "io"]
    with pytest.raises(LeaseLost):
        jobs.heartbeat(job)
    assert lease(jobs, job, DOWNLOAD).tries == 1
    jobs.release({"unknown"})
    assert jobs.find(job.id).lease


def test_a_lease_without_heartbeat_is_freed_and_lost_to_its_holder(jobs: Jobs) -> None:
    first = lease(jobs, submit(jobs), DOWNLOAD)
    age(jobs, first)
    assert [freed.id for freed in jobs.free_abandoned()] == [first.id]
    second = lease(jobs, first, DOWNLOAD)
    with pytest.raises(LeaseLost):
        jobs.heartbeat(first)
    with pytest.raises(LeaseLost):
        jobs.finish_stage(first, DOWNLOAD, 1)
    jobs.heartbeat(second)


def test_a_stage_that_kills_its_worker_twice_fails_the_job(jobs: Jobs) -> None:
    job = submit(jobs)
    start_again(jobs, job)
    start_again(jobs, job)
    die_and_sweep(jobs, job)
    assert jobs.lease_next(DOWNLOAD) is None
    job = jobs.find(job.id)
    assert (job.state, job.error_code) == (State.FAILED, "worker_lost")


def test_a_worker_killed_before_the_first_page_has_eight_tries(jobs: Jobs) -> None:
    job = submit(jobs)
    for _ in range(MOST_TRIES):
        lease(jobs, job, DOWNLOAD)
        die_and_sweep(jobs, job)
    assert jobs.lease_next(DOWNLOAD) is None
    assert jobs.find(job.id).error_code == "worker_lost"


def test_a_job_is_handed_over_until_its_starts_are_used_up(jobs: Jobs, queue: RecordingQueue) -> None:
    job = submit(jobs)
    for expected in (State.DOWNLOADING, State.FAILED):
        assert jobs.find(job.id).state != State.FAILED
        leased = start_again(jobs, job)
        jobs.hand_over(leased, DOWNLOAD, DeviceLost("The GPU failed."))
        assert (jobs.find(job.id).state, jobs.find(job.id).lease) == (expected, None)
    assert jobs.find(job.id).error_code == "device_lost"
    jobs.hand_over(leased, DOWNLOAD, DeviceLost("The GPU failed."))  # changes nothing


def test_a_job_whose_process_has_ended_is_freed_immediately(jobs: Jobs) -> None:
    gone, alive = (lease(jobs, submit(jobs), DOWNLOAD) for _ in range(2))
    die(jobs, gone)
    assert [job.id for job in jobs.free_abandoned()] == [gone.id]
    jobs.heartbeat(alive)


def test_a_job_of_another_machine_is_freed_only_without_heartbeats(jobs: Jobs) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    change(jobs, job, leased_by="elsewhere:999999")
    assert jobs.free_abandoned() == []


def test_progress_resets_the_starts(jobs: Jobs) -> None:
    job = submit(jobs)
    for done in range(1, 6):
        jobs.record_progress(start_again(jobs, job), done, 10, {})
    assert jobs.find(job.id).state == State.DOWNLOADING


def test_reporting_the_same_number_is_not_progress(jobs: Jobs) -> None:
    job = submit(jobs)
    for _ in range(2):
        jobs.record_progress(start_again(jobs, job), 0, 10, None)
    die_and_sweep(jobs, job)
    assert jobs.lease_next(DOWNLOAD) is None
    assert jobs.find(job.id).state == State.FAILED


def test_counting_again_after_an_interruption_is_not_progress(jobs: Jobs) -> None:
    job = submit(jobs)
    for _ in range(2):  # pages 1 to 4 are no longer cached and end immediately; the fifth kills the worker
        leased = start_again(jobs, job)
        for done in range(5):
            jobs.record_progress(leased, done, 10, None)
    assert jobs.find(job.id).done == 4
    jobs.record_progress(leased, 0, 10, None)
    assert jobs.find(job.id).done == 4
    die_and_sweep(jobs, job)
    assert jobs.lease_next(DOWNLOAD) is None
    assert jobs.find(job.id).error_code == "worker_lost"


def test_a_failed_job_has_the_error_of_its_stage(jobs: Jobs) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    jobs.fail(job, ManifestError("It is a cake."))
    job = jobs.find(job.id)
    assert (job.state, job.error_code, job.error_message) == (State.FAILED, "bad_manifest", "It is a cake.")


def die_and_sweep(jobs: Jobs, job: Job) -> None:
    die(jobs, job)
    assert [freed.id for freed in jobs.free_abandoned()] == [job.id]


def test_an_abandoned_job_is_freed_once(jobs: Jobs) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    age(jobs, job)
    assert len(jobs.free_abandoned()) == 1
    assert jobs.free_abandoned() == []


def test_the_downloads_from_one_host_are_limited(jobs: Jobs) -> None:
    slow = [submit(jobs, url=f"https://slow.example/{number}") for number in range(3)]
    quick = submit(jobs, url="https://quick.example/1")
    for job in (*slow[:2], quick):
        lease(jobs, job, DOWNLOAD)
    assert jobs.lease_next(DOWNLOAD) is None
    assert jobs.find(slow[2].id).state == State.QUEUED


def test_the_downloads_of_jobs_without_a_host_are_not_limited(jobs: Jobs) -> None:
    taken = [jobs.lease_next(DOWNLOAD) for _ in range(4) if jobs.submit(1, [TrainingRequest("set", 5)])]
    assert [job.host for job in taken if job] == [""] * 4


@pytest.mark.parametrize("ending", ["finish_stage", "fail", "cancel"])
def test_a_job_that_waits_for_its_host_is_taken_when_another_ends(jobs: Jobs, ending: str) -> None:
    submitted = [submit(jobs) for _ in range(3)]
    first, _ = (lease(jobs, job, DOWNLOAD) for job in submitted[:2])
    assert jobs.lease_next(DOWNLOAD) is None
    assert jobs.scheduler.count_waiting(DOWNLOAD, 9) == 0
    if ending == "finish_stage":
        jobs.finish_stage(first, DOWNLOAD, 1)
    elif ending == "fail":
        jobs.fail(first, ManifestError("no"))
    else:
        jobs.cancel(first)
    assert jobs.scheduler.count_waiting(DOWNLOAD, 9) == 1
    lease(jobs, submitted[2], DOWNLOAD)


def test_an_abandoned_download_does_not_count_for_its_host(jobs: Jobs) -> None:
    for job in [lease(jobs, submit(jobs), DOWNLOAD) for _ in range(2)]:
        age(jobs, job)
    assert len(jobs.free_abandoned()) == 2
    assert jobs.lease_next(DOWNLOAD) is not None


def test_a_download_that_kills_its_worker_frees_its_host(jobs: Jobs) -> None:
    killer, waiting = submit(jobs), submit(jobs)
    for _ in range(2):
        start_again(jobs, killer)
    die_and_sweep(jobs, killer)
    found = jobs.lease_next(DOWNLOAD)
    assert found is not None
    assert found.id == waiting.id
    assert jobs.find(killer.id).state == State.FAILED


def spend(jobs: Jobs, job: Job, seconds: float, what: str) -> None:
    """Add some seconds to ``worked`` or ``stalled``."""
    change(jobs, job, **{what: getattr(Job, what) + seconds})


@pytest.mark.parametrize(("what", "reason"), [("worked", "longer than 2 hours"), ("stalled", "for 30 minutes")])
def test_a_stage_that_takes_too_long_fails_its_job(jobs: Jobs, what: str, reason: str) -> None:
    job, quick = (lease(jobs, submit(jobs), DOWNLOAD) for _ in range(2))
    spend(jobs, job, 2 * 3600 + 1, what)
    assert [each.id for each in jobs.end_overdue(DOWNLOAD, 2, 30)] == [job.id]
    ended = jobs.find(job.id)
    assert (ended.state, ended.error_code) == (State.FAILED, "time_limit")
    assert reason in (ended.error_message or "")
    with pytest.raises(LeaseLost):
        jobs.heartbeat(job)
    jobs.heartbeat(quick)


@pytest.mark.parametrize("reports", [False, True])
def test_heartbeats_count_the_seconds_of_work(jobs: Jobs, reports: bool) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    for _ in range(5):
        age(jobs, job, 20)
        if reports:
            jobs.record_progress(job, 0, 10, None)  # a report without progress
        else:
            jobs.heartbeat(job)
    row = jobs.find(job.id)
    assert row.worked == pytest.approx(100, abs=5)
    assert row.stalled == pytest.approx(100, abs=5)


def test_a_long_stage_with_progress_is_not_overdue(jobs: Jobs) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    spend(jobs, job, 3600, "worked")
    spend(jobs, job, 3600, "stalled")
    jobs.record_progress(job, 1, 10, None)
    assert jobs.end_overdue(DOWNLOAD, 2, 30) == []


def test_the_time_of_a_power_cut_does_not_count(jobs: Jobs) -> None:
    job = start_again(jobs, submit(jobs))
    age(jobs, job, 48 * 3600)  # the last heartbeat before the power cut
    assert jobs.end_overdue(DOWNLOAD, 2, 30) == []
    assert [found.id for found in jobs.free_abandoned()] == [job.id]
    job = lease(jobs, job, DOWNLOAD)
    jobs.heartbeat(job)
    assert jobs.end_overdue(DOWNLOAD, 2, 30) == []


@pytest.mark.parametrize("seconds", [-1e6, 1e9])
def test_a_clock_change_does_not_count_as_work(jobs: Jobs, seconds: float) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    age(jobs, job, seconds)
    jobs.heartbeat(job)
    assert jobs.find(job.id).worked == pytest.approx(0, abs=5)


def test_the_time_of_a_killed_stage_is_counted_from_its_first_start(jobs: Jobs) -> None:
    job = start_again(jobs, submit(jobs))
    spend(jobs, job, 2 * 3600 + 1, "worked")
    start_again(jobs, job)
    assert len(jobs.end_overdue(DOWNLOAD, 2, 30)) == 1


@pytest.mark.parametrize("ending", ["finish_stage", "retry"])
def test_the_next_stage_or_retry_restarts_the_time(jobs: Jobs, ending: str) -> None:
    job = lease(jobs, submit(jobs), DOWNLOAD)
    spend(jobs, job, 2 * 3600 + 1, "worked")
    if ending == "finish_stage":
        jobs.finish_stage(job, DOWNLOAD, 1)
        lease(jobs, job, RUN)
    else:
        jobs.end_overdue(DOWNLOAD, 2, 30)
        jobs.retry(jobs.find(job.id))
        lease(jobs, job, DOWNLOAD)
    assert jobs.end_overdue(DOWNLOAD, 2, 30) == jobs.end_overdue(RUN, 2, 30) == []
