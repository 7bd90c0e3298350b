"""Workers that are killed or told to stop: no page is lost, none is detected twice, and one result arrives."""

import signal

import pytest
from sqlalchemy import update

from app.database.sessions import Database
from app.database.tables import Job
from app.demo.service import run_service
from tests.support.library import Library, Scan
from tests.support.service import PAGES, Document, Service, kill, let_go

SMALL = Scan(300, 400)


@pytest.mark.parametrize("child_only", [True, False], ids=["its child", "child and parent"])
def test_a_killed_detection_goes_on_at_the_next_page(service: Service, document: Document, child_only: bool) -> None:
    with service.hold_page(document, 3):
        job_id = service.detect(document.url)
        service.wait(job_id, lambda job: job["progress"]["done"] == 2)
        before = service.read_inodes(job_id)
        processes = service.processes("gpu@")
        kill(processes[-1:] if child_only else processes)
    job = service.finish(job_id)
    after = service.read_inodes(job_id)
    assert (job["state"], job["coverage"]["failed"]) == ("done", []), job["error"]
    assert (len(before), len(after), before.items() <= after.items()) == (2, PAGES, True)
    service.settle(job_id)
    assert len(service.receive()) == 1


def test_a_detection_that_is_killed_when_its_pages_are_saved_detects_nothing_again(
    service: Service, document: Document
) -> None:
    job_id = service.kill_at(document, lambda job_id: len(service.read_inodes(job_id)) == PAGES)
    check_that_nothing_is_detected_again(service, job_id)


def test_a_detection_that_is_killed_when_its_result_is_saved_detects_nothing_again(
    service: Service, document: Document
) -> None:
    job_id = service.kill_at(document, lambda job_id: service.storage.job(job_id).annotations.exists())
    check_that_nothing_is_detected_again(service, job_id)


def check_that_nothing_is_detected_again(service: Service, job_id: str) -> None:
    before = service.read_inodes(job_id)
    assert len(before) == PAGES
    assert service.finish(job_id)["state"] == "done"
    assert service.read_inodes(job_id) == before
    assert service.read_order([job_id]) == [job_id] * 2
    (delivery,) = service.settle(job_id)
    assert [each.headers["Webhook-Id"] for each in service.receive()].count(delivery["id"]) == 1


def test_a_page_that_kills_the_process_every_time_fails_its_job_and_the_next_runs(
    service: Service, document: Document, sample: str
) -> None:
    with service.hold_page(document):
        job_id, after = service.detect(document.url), service.detect(sample)
        for starts in (1, 2):
            service.wait_for_row(job_id, lambda job, starts=starts: job.starts == starts)
            kill(service.processes("gpu@")[-1:])
        job = service.finish(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "worker_lost")
    assert "2 times" in job["error"]["message"]
    assert service.finish(after)["state"] == "done"


@pytest.mark.parametrize("worker", ["gpu@", "io@"])
def test_a_killed_worker_is_started_again_and_nothing_is_lost(service: Service, library: Library, worker: str) -> None:
    kill(service.processes(worker))
    job_id = service.detect(library.offer_manifest([SMALL]))
    assert service.finish(job_id)["state"] == "done"
    service.settle(job_id)
    assert len(service.receive()) == 1


def test_a_worker_that_is_told_to_stop_hands_its_job_to_the_next(service: Service, document: Document) -> None:
    with service.hold_page(document, 3) as page:
        job_id = service.detect(document.url)
        service.wait(job_id, lambda job: job["progress"]["done"] == 2)
        before = service.read_inodes(job_id)
        parent, *_ = service.processes("gpu@")
        parent.send_signal(signal.SIGTERM)
        service.wait_for_row(job_id, lambda job: job.lease is None)
        let_go(page)
        parent.wait(30)
    assert service.finish(job_id)["state"] == "done"
    assert before.items() <= service.read_inodes(job_id).items()
    service.settle(job_id)
    assert len(service.receive()) == 1


def test_jobs_in_hand_go_on_after_the_power_was_off_for_days(service: Service, document: Document) -> None:
    """The last test of this file: it ends the service."""
    with service.hold_page(document, 3):
        job_id = service.detect(document.url)
        service.wait(job_id, lambda job: job["progress"]["done"] == 2)
        kill([service.supervisor, *service.supervisor.children(recursive=True)])
        with Database(service.settings.sqlalchemy_url).session() as session:
            session.execute(update(Job).values(heartbeat=Job.heartbeat - 3 * 86400))
    with run_service(service.settings):
        assert service.finish(job_id)["state"] == "done"
        service.settle(job_id)
        assert len(service.receive()) == 1
