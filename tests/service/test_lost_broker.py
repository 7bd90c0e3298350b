"""A broker that loses what it has, is killed, cut off or away: every job is done once, in its order."""

import json
from typing import Any

import redis

from tests.support.library import Library, Scan
from tests.support.service import PAGES, Document, Service, kill, let_go

SMALL = Scan(300, 400)
BEHIND = 6


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
        service.settle(job_id)
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
            expire_messages(broker)
            service.poll(lambda: broker.lrange("gpu", 0, -1), lambda messages: any(map(is_redelivered, messages)))
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


def expire_messages(broker: "redis.Redis[Any]") -> None:
    """Let the visibility timeout of a day end for each message that a worker holds."""
    held = broker.zrange("unacked_index", 0, -1)
    assert held
    broker.zadd("unacked_index", dict.fromkeys(held, 1), xx=True)


def is_redelivered(message: bytes) -> bool:
    """Tell whether the broker has put a message back on its queue because no worker has answered for it."""
    return bool(json.loads(message)["headers"].get("redelivered"))


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
