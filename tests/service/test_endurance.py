"""Killed workers, a broker that fails, a power cut: no page is lost or detected twice, and each result arrives once."""

import json
import signal
from typing import Any

import pytest
import redis
from sqlalchemy import update

from app.database.sessions import Database
from app.database.tables import Job
from app.demo.service import run_service
from tests.support.library import Library, Scan
from tests.support.service import PAGES, Document, Service, kill, let_go

SMALL = Scan(300, 400)
BEHIND = 6


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
    service.wait_for_deliveries(job_id)
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
    (delivery,) = service.wait_for_deliveries(job_id)
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
    service.wait_for_deliveries(job_id)
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
    service.wait_for_deliveries(job_id)
    assert len(service.receive()) == 1


def test_a_broker_that_loses_everything_loses_no_job(service: Service, document: Document) -> None:
    with service.hold_page(document, 3) as page:
        jobs = detect_thrice(service, document)
        with redis.Redis.from_url(service.settings.broker_url) as broker:
            broker.flushall()
        let_go(page)
        check_that_all_are_done_once(service, jobs)


def detect_thrice(service: Service, document: Document) -> list[str]:
    """Ask for three detections; return the jobs when the third page of the first is held."""
    first = service.detect(document.url)
    service.wait(first, lambda job: job["progress"]["done"] == 2)
    return [first, service.detect(document.url), service.detect(document.url)]


def check_that_all_are_done_once(service: Service, jobs: list[str]) -> None:
    assert [service.finish(job_id)["state"] for job_id in jobs] == ["done"] * len(jobs)
    for job_id in jobs:
        service.wait_for_deliveries(job_id)
    assert len(service.receive()) == len(jobs)


def test_a_broker_that_is_killed_comes_back_and_no_job_is_lost(service: Service, document: Document) -> None:
    with service.hold_page(document, 3) as page:
        jobs = detect_thrice(service, document)
        kill(service.processes("-server"))  # redis-server or valkey-server
        let_go(page)
        check_that_all_are_done_once(service, jobs)


def test_connections_that_are_cut_again_and_again_lose_nothing(service: Service, document: Document) -> None:
    with service.hold_page(document, 3) as page, redis.Redis.from_url(service.settings.broker_url) as broker:
        jobs = detect_thrice(service, document)
        for _ in range(5):
            assert broker.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            service.poll(lambda: len(broker.client_list("normal")), lambda count: count > 1)
        let_go(page)
        check_that_all_are_done_once(service, jobs)


def test_a_broker_that_is_away_loses_nothing_and_jobs_are_accepted_meanwhile(
    service: Service, document: Document
) -> None:
    with service.hold_page(document, 3) as page:
        jobs = [service.detect(document.url)]
        service.wait(jobs[0], lambda job: job["progress"]["done"] == 2)
        service.control("stop", "broker")
        tries = {name: count_tries(service, name) for name in ("io", "gpu", "post")}
        jobs.append(service.detect(document.url))
        for name, before in tries.items():
            service.poll(lambda name=name: count_tries(service, name), lambda now, before=before: now > before)
        service.control("start", "broker")
        let_go(page)
        check_that_all_are_done_once(service, jobs)


def count_tries(service: Service, worker: str) -> int:
    """Return how often a worker has tried in vain to connect to the broker."""
    return (service.settings.data_folder / "logs" / f"{worker}.log").read_text().count("Cannot connect to redis")


def test_a_job_longer_than_the_brokers_patience_runs_once_and_those_behind_it_in_order(
    service: Service, document: Document, library: Library
) -> None:
    with service.hold_page(document) as page:
        first = service.detect(document.url)
        service.wait_for_row(first, lambda job: job.starts == 1)
        behind = offer_jobs(service, library)
        with redis.Redis.from_url(service.settings.broker_url) as broker:
            redeliver_held_messages(broker)
        assert service.look(first)["state"] == "running"
        let_go(page)
        check_that_all_are_done_once(service, [first, *behind])
    assert sum(service.look(job_id)["progress"]["done"] for job_id in (first, *behind)) == PAGES + BEHIND
    assert service.read_order([first, *behind]) == [first, *behind]


def offer_jobs(service: Service, library: Library) -> list[str]:
    """Ask for some jobs, and return them when they wait for the detector."""
    jobs = [service.detect(library.offer_manifest([SMALL], path=f"/{n}/manifest.json")) for n in range(BEHIND)]
    for job_id in jobs:
        service.wait(job_id, lambda job: job["state"] == "running")
    return jobs


def redeliver_held_messages(broker: "redis.Redis[Any]") -> None:
    """Put the messages that workers hold back on their queues, as kombu does when the visibility timeout has passed."""
    held = broker.hgetall("unacked").values()
    assert held
    for record in held:
        message, _, queue = json.loads(record)
        message["headers"]["redelivered"] = message["properties"]["delivery_info"]["redelivered"] = True
        broker.rpush(queue, json.dumps(message))


def test_one_apps_many_manifests_hold_up_anothers_single_one_for_the_job_in_hand_only(
    service: Service, document: Document, library: Library
) -> None:
    other = service.join("other")
    with service.hold_page(document) as page:
        in_hand = service.detect(document.url)
        service.wait_for_row(in_hand, lambda job: job.starts == 1)
        many = offer_jobs(service, library)
        single = other.detect(library.offer_manifest([SMALL], path="/single/manifest.json"))
        other.wait(single, lambda job: job["state"] == "running")
        let_go(page)
        assert [service.finish(job_id)["state"] for job_id in many] == ["done"] * BEHIND
    assert other.finish(single)["state"] == "done"
    assert service.read_order([in_hand, *many, single]).index(single) <= 1


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
        service.wait_for_deliveries(job_id)
        assert len(service.receive()) == 1
