"""Kill workers, the broker or the whole service: every page is detected once, and every result is received once.

With two detection workers, too, every job runs once.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import update

from app.config import ROOT
from app.database.sessions import Database
from app.database.tables import Job
from app.demo.service import build_environment, run_service
from app.jobs import State
from tests.support.library import Answer, Library, Scan
from tests.support.service import PAGES, Document, Service, kill, unblock_page

SMALL = Scan(300, 400)
QUEUED = 6
JOBS_OF_TWO_WORKERS = 8


@pytest.mark.parametrize("child_only", [True, False], ids=["child only", "child and parent"])
def test_a_killed_detection_resumes_at_the_next_page(service: Service, document: Document, child_only: bool) -> None:
    with service.block_page(document, 3):
        job_id = service.detect(document.url)
        service.wait_for_job(job_id, lambda job: job["progress"]["done"] == 2)
        before = service.count_detections(job_id)
        processes = service.find_processes("gpu@")
        assert [file for file in processes[0].memory_maps() if "libtorch" in file.path], (
            "a new child imports torch again"
        )
        kill(processes[-1:] if child_only else processes)
    job = service.wait_until_finished(job_id)
    after = service.count_detections(job_id)
    assert (job["state"], job["coverage"]["failed"]) == ("done", []), job["error"]
    assert (len(before), len(after), before.items() <= after.items()) == (2, PAGES, True)
    service.wait_for_deliveries(job_id)
    assert len(service.wait_for_messages()) == 1


def test_a_detection_killed_after_its_last_page_detects_nothing_again(service: Service, document: Document) -> None:
    job_id = service.kill_detector_when(document, lambda job_id: len(service.count_detections(job_id)) == PAGES)
    check_that_nothing_is_detected_again(service, job_id)


def test_a_detection_killed_after_saving_its_result_detects_nothing_again(service: Service, document: Document) -> None:
    job_id = service.kill_detector_when(document, lambda job_id: service.storage.job(job_id).annotations.exists())
    check_that_nothing_is_detected_again(service, job_id)


def check_that_nothing_is_detected_again(service: Service, job_id: str) -> None:
    before = service.count_detections(job_id)
    assert len(before) == PAGES
    assert service.wait_until_finished(job_id)["state"] == "done"
    assert service.count_detections(job_id) == before
    assert service.read_run_order([job_id]) == [job_id] * 2
    (delivery,) = service.wait_for_deliveries(job_id)
    assert [each.headers["Webhook-Id"] for each in service.wait_for_messages()].count(delivery["id"]) == 1


def test_a_page_that_always_kills_the_process_fails_its_job_only(
    service: Service, document: Document, sample: str
) -> None:
    with service.block_page(document):
        job_id, next_id = service.detect(document.url), service.detect(sample)
        for starts in (1, 2):
            service.wait_for_row(job_id, lambda job, starts=starts: job.starts == starts)
            kill(service.find_processes("gpu@")[-1:])
        job = service.wait_until_finished(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "worker_lost")
    assert "2 times" in job["error"]["message"]
    assert service.wait_until_finished(next_id)["state"] == "done"


@pytest.mark.parametrize("worker", ["gpu@", "io@"])
def test_a_killed_worker_is_restarted_and_runs_the_next_job(service: Service, library: Library, worker: str) -> None:
    kill(service.find_processes(worker))
    job_id = service.detect(library.offer_manifest([SMALL]))
    assert service.wait_until_finished(job_id)["state"] == "done"
    service.wait_for_deliveries(job_id)
    assert len(service.wait_for_messages()) == 1


def test_a_worker_that_receives_sigterm_releases_its_job(service: Service, document: Document) -> None:
    with service.block_page(document, 3) as page:
        job_id = service.detect(document.url)
        service.wait_for_job(job_id, lambda job: job["progress"]["done"] == 2)
        before = service.count_detections(job_id)
        parent, *_ = service.find_processes("gpu@")
        parent.send_signal(signal.SIGTERM)
        service.wait_for_row(job_id, lambda job: job.lease is None)
        unblock_page(page)
        parent.wait(30)
    assert service.wait_until_finished(job_id)["state"] == "done"
    assert before.items() <= service.count_detections(job_id).items()
    service.wait_for_deliveries(job_id)
    assert len(service.wait_for_messages()) == 1


def test_no_job_is_lost_when_the_broker_is_wiped(service: Service, document: Document) -> None:
    with service.block_page(document, 3) as page:
        jobs = submit_three_jobs(service, document)
        with redis.Redis.from_url(service.settings.broker_url) as broker:
            broker.flushall()
        unblock_page(page)
        check_that_all_are_done_once(service, jobs)


def submit_three_jobs(service: Service, document: Document) -> list[str]:
    """Submit three detections of the document, and wait until the first job is blocked at its third page."""
    first = service.detect(document.url)
    service.wait_for_job(first, lambda job: job["progress"]["done"] == 2)
    return [first, service.detect(document.url), service.detect(document.url)]


def check_that_all_are_done_once(service: Service, jobs: list[str]) -> None:
    """Check that every job ends as done and that the client app receives one message for each."""
    assert [service.wait_until_finished(job_id)["state"] for job_id in jobs] == ["done"] * len(jobs)
    for job_id in jobs:
        service.wait_for_deliveries(job_id)
    assert len(service.wait_for_messages()) == len(jobs)


def test_no_job_is_lost_and_no_worker_ends_when_the_broker_is_killed(
    service: Service, document: Document, library: Library
) -> None:
    with service.block_page(document, 3) as page:
        jobs = submit_three_jobs(service, document)
        silent = service.detect(library.answer("/silent.json", Answer(hang=True)))
        service.wait_for_row(silent, lambda job: job.state == State.DOWNLOADING)
        workers = service.find_processes("@%h")
        kill(service.find_processes("-server"))  # redis-server or valkey-server
        unblock_page(page)
        check_that_all_are_done_once(service, jobs)
    next_job = service.detect(library.offer_manifest([SMALL]))
    assert service.wait_until_finished(next_job)["state"] == "done"
    assert service.get_job(silent)["state"] == "downloading"
    assert service.find_processes("@%h") == workers
    library.forget()
    assert service.wait_until_finished(silent)["state"] == "failed"


def test_no_job_is_lost_when_connections_to_the_broker_are_dropped(service: Service, document: Document) -> None:
    with service.block_page(document, 3) as page, redis.Redis.from_url(service.settings.broker_url) as broker:
        jobs = submit_three_jobs(service, document)
        for _ in range(5):
            service.poll(lambda: broker.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), bool)
        unblock_page(page)
        check_that_all_are_done_once(service, jobs)


def test_jobs_are_accepted_while_the_broker_is_stopped(service: Service, document: Document) -> None:
    with service.block_page(document, 3) as page:
        jobs = [service.detect(document.url)]
        service.wait_for_job(jobs[0], lambda job: job["progress"]["done"] == 2)
        with service.stop_program("broker"):
            failures = {name: count_failed_connections(service, name) for name in ("io", "gpu", "post")}
            jobs.append(service.detect(document.url))
            for name, before in failures.items():
                service.poll(
                    lambda name=name: count_failed_connections(service, name), lambda now, before=before: now > before
                )
        unblock_page(page)
        check_that_all_are_done_once(service, jobs)


def count_failed_connections(service: Service, worker: str) -> int:
    """Return how often a worker has failed to connect to the broker, according to its log."""
    return (service.settings.data_folder / "logs" / f"{worker}.log").read_text().count("Cannot connect to redis")


def test_a_job_with_several_messages_runs_once(service: Service, document: Document, library: Library) -> None:
    with service.block_page(document) as page:
        first = service.detect(document.url)
        service.wait_for_row(first, lambda job: job.starts == 1)
        queued = submit_queued_jobs(service, library)
        with redis.Redis.from_url(service.settings.broker_url) as broker:
            broker.lpush("gpu", *broker.lrange("gpu", 0, -1))
        assert service.get_job(first)["state"] == "running"
        unblock_page(page)
        check_that_all_are_done_once(service, [first, *queued])
    assert sum(service.get_job(job_id)["progress"]["done"] for job_id in (first, *queued)) == PAGES + QUEUED
    assert service.read_run_order([first, *queued]) == [first, *queued]


def submit_queued_jobs(service: Service, library: Library) -> list[str]:
    """Submit jobs of one page each, and wait until all of them are queued for the detector."""
    jobs = [service.detect(library.offer_manifest([SMALL], path=f"/{n}/manifest.json")) for n in range(QUEUED)]
    for job_id in jobs:
        service.wait_for_job(job_id, lambda job: job["state"] == "running")
    return jobs


def test_another_apps_job_runs_right_after_the_current_job(
    service: Service, document: Document, library: Library
) -> None:
    other = service.as_new_client_app("other")
    with service.block_page(document) as page:
        current = service.detect(document.url)
        service.wait_for_row(current, lambda job: job.starts == 1)
        many = submit_queued_jobs(service, library)
        single = other.detect(library.offer_manifest([SMALL], path="/single/manifest.json"))
        other.wait_for_job(single, lambda job: job["state"] == "running")
        unblock_page(page)
        assert [service.wait_until_finished(job_id)["state"] for job_id in many] == ["done"] * QUEUED
    assert other.wait_until_finished(single)["state"] == "done"
    assert service.read_run_order([current, *many, single]).index(single) <= 1


@contextmanager
def run_second_worker(service: Service, name: str) -> Iterator[Path]:
    """Run another ``gpu`` worker with the command of docs/scaling.md, from when it is ready; yield its log."""
    log = service.settings.data_folder / "logs" / f"second-{name}.log"
    command = [sys.executable, "-m", "app.workers", "gpu", "--name", name]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=build_environment(service.settings), cwd=ROOT, stdout=output, stderr=output
        )
    try:
        service.poll(lambda: log.read_text(), lambda text: " ready." in text or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.terminate()
        process.wait(60)


def ping_workers(service: Service) -> list[str]:
    """Return the names of the ``gpu`` workers that answer, from the command of docs/operations.md."""
    command = [str(Path(sys.executable).parent / "celery"), "-A", "app.app.celery", "inspect", "ping"]
    done = subprocess.run(
        command, env=build_environment(service.settings), cwd=ROOT, capture_output=True, text=True, check=False
    )
    return re.findall(r"->.*?(gpu\w*)@\S+: .*OK", done.stdout) or [done.stdout + done.stderr]


def list_runs(log: Path) -> list[str]:
    return re.findall(r"job ([0-9a-f]{32}): run begins", log.read_text())


def test_two_workers_share_the_jobs_and_run_each_once(service: Service, document: Document, library: Library) -> None:
    name = "gpu2"
    first = service.settings.data_folder / "logs" / "gpu.log"
    with run_second_worker(service, name) as second:
        assert sorted(ping_workers(service)) == sorted(["gpu", name])
        with service.block_page(document) as page:
            held = service.detect(document.url)
            service.wait_for_row(held, lambda job: job.starts == 1)
            jobs = [service.detect(library.offer_manifest([SMALL])) for _ in range(JOBS_OF_TWO_WORKERS)]
            # One worker waits for the blocked page; the other one runs the rest.
            assert {service.wait_until_finished(job)["state"] for job in jobs} == {"done"}
            unblock_page(page)
            service.wait_until_finished(held)
        later = [service.detect(library.offer_manifest([SMALL])) for _ in range(JOBS_OF_TWO_WORKERS)]
        assert {service.wait_until_finished(job)["state"] for job in later} == {"done"}
        runs = [job for log in (first, second) for job in list_runs(log) if job in {*jobs, *later}]
    assert sorted(runs) == sorted([*jobs, *later])


def test_running_jobs_resume_after_a_power_cut_of_three_days(service: Service, document: Document) -> None:
    """Must be the last test of this file, because it kills the service."""
    with service.block_page(document, 3):
        job_id = service.detect(document.url)
        service.wait_for_job(job_id, lambda job: job["progress"]["done"] == 2)
        kill([service.supervisor, *service.supervisor.children(recursive=True)])
        with Database(service.settings.sqlalchemy_url).session() as session:
            session.execute(update(Job).values(heartbeat=Job.heartbeat - 3 * 86400))
    with run_service(service.settings):
        assert service.wait_until_finished(job_id)["state"] == "done"
        service.wait_for_deliveries(job_id)
        assert len(service.wait_for_messages()) == 1
