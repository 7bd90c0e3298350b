import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.database.tables import Job
from app.errors import ManifestError
from app.jobs import Jobs, Stage, State
from app.jobs.requests import SearchRequest, TrainingRequest
from app.jobs.scheduling import LONGEST_WAIT
from app.jobs.states import DOWNLOAD, RUN
from tests.integration.jobs.conftest import change, lease, submit


def urls(number: int) -> list[str]:
    """Return manifest URLs on different hosts."""
    return [f"https://{place}.example/manifest.json" for place in range(number)]


def serve(jobs: Jobs, stage: Stage = DOWNLOAD) -> int:
    """Lease the next job and finish its stage; return its client app."""
    job = jobs.lease_next(stage)
    assert job is not None
    jobs.finish_stage(job, stage, 1)
    return job.app_id


def test_a_thousand_jobs_of_one_app_delay_another_app_by_one_job(jobs: Jobs) -> None:
    for url in urls(1000):
        submit(jobs, 1, url)
    assert serve(jobs) == 1
    submit(jobs, 2)
    assert [serve(jobs) for _ in range(3)] == [2, 1, 1]


def test_client_apps_are_served_round_robin(jobs: Jobs) -> None:
    for app_id in (1, 1, 1, 2, 2, 3):
        submit(jobs, app_id)
    assert [serve(jobs) for _ in range(6)] == [1, 2, 3, 1, 2, 1]


def test_each_queue_has_its_own_round_robin(jobs: Jobs) -> None:
    for app_id in (1, 1, 2, 2):
        submit(jobs, app_id)
        serve(jobs)  # downloads in the order of submission
    assert [serve(jobs, RUN) for _ in range(4)] == [1, 2, 1, 2]


def test_the_jobs_of_an_app_are_taken_in_the_order_of_submission(jobs: Jobs) -> None:
    submitted = [submit(jobs, url=url) for url in urls(20)]
    taken = [jobs.lease_next(DOWNLOAD) for _ in submitted]
    assert [job.id for job in taken if job] == [job.id for job in submitted]


def test_an_app_that_waits_for_a_full_host_keeps_its_place(jobs: Jobs) -> None:
    first, second = (jobs.lease_next(DOWNLOAD) for _ in range(2) if submit(jobs, 1))
    submit(jobs, 1)
    mine = submit(jobs, 2)
    assert jobs.lease_next(DOWNLOAD) is None
    assert first is not None
    assert second is not None
    jobs.fail(first, ManifestError("no"))
    taken = jobs.lease_next(DOWNLOAD)
    assert taken is not None
    assert taken.id == mine.id


@pytest.mark.parametrize("threads", [8])
def test_concurrent_threads_lease_each_job_once(jobs: Jobs, threads: int) -> None:
    submitted = [submit(jobs, app_id, url) for app_id in (1, 2) for url in urls(20)]
    together = threading.Barrier(threads)

    def take_all() -> list[str]:
        together.wait()
        return [job.id for job in iter(lambda: jobs.lease_next(DOWNLOAD), None)]

    with ThreadPoolExecutor(threads) as pool:
        taken = [job_id for each in [pool.submit(take_all) for _ in range(threads)] for job_id in each.result()]
    assert sorted(taken) == sorted(job.id for job in submitted)


def begin_training(jobs: Jobs, app_id: int = 1) -> Job:
    """Submit a training and finish its download."""
    (training,) = jobs.submit(app_id, [TrainingRequest("pages", 5)])
    jobs.finish_stage(lease(jobs, training, DOWNLOAD), DOWNLOAD, 1)
    return training


def test_a_training_comes_after_other_kinds_of_jobs(jobs: Jobs) -> None:
    training = begin_training(jobs, 2)
    for _ in range(2):
        submit(jobs, 1)
        serve(jobs)
    assert [serve(jobs, RUN) for _ in range(3)] == [1, 1, 2]
    assert jobs.find(training.id).state == "delivering"


def test_a_training_that_yielded_continues_when_no_job_waits(jobs: Jobs) -> None:
    training = lease(jobs, begin_training(jobs), RUN)
    assert not jobs.scheduler.must_yield(RUN)
    other = submit(jobs)
    jobs.finish_stage(lease(jobs, other, DOWNLOAD), DOWNLOAD, 1)
    assert jobs.scheduler.must_yield(RUN)
    jobs.finish_stage(training, RUN, 1, State.RUNNING)
    jobs.finish_stage(lease(jobs, other, RUN), RUN, 1)
    assert not jobs.scheduler.must_yield(RUN)
    lease(jobs, training, RUN)


def test_two_trainings_do_not_interrupt_each_other(jobs: Jobs) -> None:
    first = begin_training(jobs)
    lease(jobs, first, RUN)
    begin_training(jobs, 2)
    assert not jobs.scheduler.must_yield(RUN)


def test_a_training_comes_first_after_an_hour_of_waiting(jobs: Jobs) -> None:
    for _ in range(3):
        submit(jobs, 1)
        serve(jobs)
    training = begin_training(jobs, 2)
    assert serve(jobs, RUN) == 1
    change(jobs, training, waiting_since=time.time() - LONGEST_WAIT - 1)
    training = lease(jobs, training, RUN)
    assert jobs.scheduler.must_yield(RUN)
    jobs.finish_stage(training, RUN, 1, State.RUNNING)
    assert [serve(jobs, RUN) for _ in range(3)] == [1, 1, 2]


def test_a_training_does_not_yield_at_the_download_stage(jobs: Jobs) -> None:
    (training,) = jobs.submit(2, [TrainingRequest("pages", 5)])
    for url in urls(3):
        submit(jobs, 2, url)
    lease(jobs, training, DOWNLOAD)


def test_a_training_that_yielded_keeps_its_progress(jobs: Jobs) -> None:
    training = lease(jobs, begin_training(jobs), RUN)
    jobs.record_progress(training, 3, 5, None)
    jobs.finish_stage(training, RUN, 1, State.RUNNING)
    assert (jobs.find(training.id).done, jobs.find(training.id).total) == (3, 5)


def test_a_sweep_does_not_change_the_waiting_time_of_a_training(jobs: Jobs) -> None:
    training = begin_training(jobs)
    change(jobs, training, waiting_since=1.0)
    jobs.free_abandoned()
    assert jobs.find(training.id).waiting_since == 1.0


def begin_search(jobs: Jobs, app_id: int = 1) -> Job:
    """Submit a search for an image at a URL."""
    return jobs.submit(app_id, [SearchRequest(image_url="https://a.example/1.jpg")])[0]


def test_a_search_comes_before_other_jobs_on_every_queue(jobs: Jobs) -> None:
    begin_training(jobs, 2)
    for _ in range(3):
        submit(jobs, 2)
        serve(jobs)
    submit(jobs, 2)
    search = begin_search(jobs)
    searched = lease(jobs, search, DOWNLOAD)
    jobs.finish_stage(searched, DOWNLOAD, 1)
    lease(jobs, search, RUN)


def test_a_search_does_not_wait_for_a_full_host(jobs: Jobs) -> None:
    for _ in range(2):
        begin_search(jobs)
        jobs.lease_next(DOWNLOAD)
    lease(jobs, begin_search(jobs), DOWNLOAD)


def test_a_training_yields_to_a_search(jobs: Jobs) -> None:
    lease(jobs, begin_training(jobs), RUN)
    assert not jobs.scheduler.must_yield(RUN)
    jobs.submit(1, [SearchRequest()])  # an upload needs no download
    assert jobs.scheduler.must_yield(RUN)
