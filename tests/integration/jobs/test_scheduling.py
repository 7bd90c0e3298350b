import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.database.tables import Job
from app.errors import ManifestError
from app.jobs import Claims, JobStore, Stage, State, TrainingRequest
from app.jobs.scheduling import LONGEST_WAIT
from app.jobs.states import DETECT, DOWNLOAD
from tests.integration.jobs.conftest import age, claimed, die, submit


def urls(number: int) -> list[str]:
    """Return addresses at as many hosts."""
    return [f"https://{place}.example/manifest.json" for place in range(number)]


def serve(claims: Claims, stage: Stage = DOWNLOAD) -> int:
    """Take the next job and end its stage; return whose it was."""
    job = claims.claim(stage, "message")
    assert job is not None
    claims.hand_over(job, stage, 1)
    return job.app_id


def test_a_thousand_jobs_of_one_app_hold_up_another_for_one_job_only(store: JobStore, claims: Claims) -> None:
    for url in urls(1000):
        submit(store, 1, url)
    assert serve(claims) == 1
    submit(store, 2)
    assert [serve(claims) for _ in range(3)] == [2, 1, 1]


def test_apps_take_turns(store: JobStore, claims: Claims) -> None:
    for app_id in (1, 1, 1, 2, 2, 3):
        submit(store, app_id)
    assert [serve(claims) for _ in range(6)] == [1, 2, 3, 1, 2, 1]


def test_each_queue_has_turns_of_its_own(store: JobStore, claims: Claims) -> None:
    for app_id in (1, 1, 2, 2):
        submit(store, app_id)
        serve(claims)  # downloads of the same app, one after the other
    assert [serve(claims, DETECT) for _ in range(4)] == [1, 2, 1, 2]


def test_the_jobs_of_an_app_are_taken_in_the_order_in_which_they_were_made(store: JobStore, claims: Claims) -> None:
    jobs = [submit(store, url=url) for url in urls(20)]
    taken = [claims.claim(DOWNLOAD, "message") for _ in jobs]
    assert [job.id for job in taken if job] == [job.id for job in jobs]


def test_an_app_that_waits_for_a_full_host_does_not_lose_its_turn(store: JobStore, claims: Claims) -> None:
    first, second = (claims.claim(DOWNLOAD, "m") for _ in range(2) if submit(store, 1))
    submit(store, 1)
    mine = submit(store, 2)
    assert claims.claim(DOWNLOAD, "early") is None
    assert first is not None
    assert second is not None
    claims.fail(first, ManifestError("no"))
    taken = claims.claim(DOWNLOAD, "now")
    assert taken is not None
    assert taken.id == mine.id


def test_a_worker_that_died_goes_on_with_its_own_job_first(store: JobStore, claims: Claims) -> None:
    for app_id in (1, 1, 2):
        submit(store, app_id)
    mine = claims.claim(DOWNLOAD, "message")
    assert mine is not None
    die(store, mine)
    again = claims.claim(DOWNLOAD, "message", 1)
    assert again is not None
    assert again.id == mine.id


def test_a_dead_workers_job_goes_on_although_its_host_is_full(store: JobStore, claims: Claims) -> None:
    first, _ = (claimed(claims, submit(store), DOWNLOAD, f"message {number}") for number in range(2))
    die(store, first)
    claimed(claims, first, DOWNLOAD, "message 0", retries=1)


@pytest.mark.parametrize("threads", [8])
def test_threads_that_take_at_the_same_time_take_each_job_once(store: JobStore, claims: Claims, threads: int) -> None:
    jobs = [submit(store, app_id, url) for app_id in (1, 2) for url in urls(20)]
    together = threading.Barrier(threads)

    def take_all() -> list[str]:
        together.wait()
        return [job.id for job in iter(lambda: claims.claim(DOWNLOAD, "message"), None)]

    with ThreadPoolExecutor(threads) as pool:
        taken = [job_id for each in [pool.submit(take_all) for _ in range(threads)] for job_id in each.result()]
    assert sorted(taken) == sorted(job.id for job in jobs)


def begin_training(store: JobStore, claims: Claims, app_id: int = 1) -> Job:
    """Submit a training, and take it as far as the GPU."""
    (training,) = store.submit(app_id, [TrainingRequest("pages", 5)])
    claims.hand_over(claimed(claims, training, DOWNLOAD), DOWNLOAD, 1)
    return training


def test_a_training_comes_after_all_that_is_shorter(store: JobStore, claims: Claims) -> None:
    training = begin_training(store, claims, 2)
    for _ in range(2):
        submit(store, 1)
        serve(claims)
    assert [serve(claims, DETECT) for _ in range(3)] == [1, 1, 2]
    assert store.find(training.id).state == "delivering"


def test_a_training_that_gives_way_goes_on_when_nobody_else_waits(store: JobStore, claims: Claims) -> None:
    training = claimed(claims, begin_training(store, claims), DETECT)
    assert not claims.is_awaited(DETECT)
    other = submit(store)
    claims.hand_over(claimed(claims, other, DOWNLOAD), DOWNLOAD, 1)
    assert claims.is_awaited(DETECT)
    claims.hand_over(training, DETECT, 1, State.RUNNING)
    claims.hand_over(claimed(claims, other, DETECT), DETECT, 1)
    assert not claims.is_awaited(DETECT)
    claimed(claims, training, DETECT)


def test_two_trainings_do_not_interrupt_each_other(store: JobStore, claims: Claims) -> None:
    first = begin_training(store, claims)
    claimed(claims, first, DETECT)
    begin_training(store, claims, 2)
    assert not claims.is_awaited(DETECT)


def test_a_training_is_not_held_up_for_ever(store: JobStore, claims: Claims) -> None:
    for _ in range(3):
        submit(store, 1)
        serve(claims)
    training = begin_training(store, claims, 2)
    assert serve(claims, DETECT) == 1
    age(store, training, LONGEST_WAIT + 1)
    training = claimed(claims, training, DETECT)
    assert claims.is_awaited(DETECT)
    claims.hand_over(training, DETECT, 1, State.RUNNING)
    assert [serve(claims, DETECT) for _ in range(3)] == [1, 1, 2]


def test_a_training_waits_behind_no_thousand_manifests_to_keep_its_pages(store: JobStore, claims: Claims) -> None:
    (training,) = store.submit(2, [TrainingRequest("pages", 5)])
    for url in urls(3):
        submit(store, 2, url)
    claimed(claims, training, DOWNLOAD)


def test_a_training_that_gives_way_still_shows_how_far_it_is(store: JobStore, claims: Claims) -> None:
    training = claimed(claims, begin_training(store, claims), DETECT)
    claims.record_progress(training, 3, 5, None)
    claims.hand_over(training, DETECT, 1, State.RUNNING)
    assert (store.find(training.id).done, store.find(training.id).total) == (3, 5)
