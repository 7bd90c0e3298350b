"""What an operator sees of a running service, with real processes: is it ready, what did it do, what does it log."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from app import create_app
from app.demo.service import find_free_port
from app.workers.queue import JobQueue
from tests.support.library import Library, Scan
from tests.support.service import Service, open_service

PASSWORD = "s3cret-of-the-broker"
SMALL = Scan(300, 400)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    broker = f"redis://:{PASSWORD}@127.0.0.1:{find_free_port()}/0"
    folder = tmp_path_factory.mktemp("service")
    with open_service(folder, celery_broker_url=broker, ready_seconds=4, log_format="json") as service:
        yield service


@pytest.fixture(scope="module")
def queue(service: Service) -> Iterator[JobQueue]:
    """The queue of the running service, from outside."""
    app = create_app(service.settings)
    yield app.extensions["queue"]
    app.extensions["queue"].close()
    app.extensions["services"].database.close()


def wait_till(service: Service, path: str, until: Callable[[requests.Response], bool]) -> requests.Response:
    """Ask until the answer is as it should be."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer = requests.get(f"{service.api}{path}", timeout=10)
        if until(answer):
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{path} answers still: {answer.status_code} {answer.text}")


def wait_till_ready(service: Service) -> None:
    wait_till(service, "/readyz", lambda answer: answer.status_code == 200)


def wait_till_silent(service: Service, queue: str) -> dict[str, Any]:
    """Wait until one queue is named, and only that one."""

    def names_it(answer: requests.Response) -> bool:
        return answer.status_code == 503 and f"through the queue {queue} for" in answer.json()["message"]

    found: dict[str, Any] = wait_till(service, "/readyz", names_it).json()
    return found


def read_metrics(service: Service) -> dict[str, float]:
    """Return every sample, by name and labels."""
    text = requests.get(f"{service.api}/metrics", timeout=10).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {" ".join([each.name, *each.labels.values()]): each.value for each in samples}


def read_logs(service: Service, name: str) -> list[dict[str, Any]]:
    """Return the lines of a process's log; every one must be an object."""
    return [
        json.loads(line) for line in (service.settings.data_folder / "logs" / f"{name}.log").read_text().splitlines()
    ]


def wait_for_request(service: Service, path: str) -> dict[str, Any]:
    """Return the line of the request for a path, which is written once the client has its answer."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for line in read_logs(service, "api"):
            if line.get("path") == path:
                return line
        time.sleep(0.05)
    raise AssertionError(f"No request for {path} was logged.")


def test_an_idle_service_becomes_ready_and_stays_it(service: Service) -> None:
    wait_till_ready(service)
    assert requests.get(f"{service.api}/healthz", timeout=10).json() == {
        "status": "ok",
        "database": "ok",
        "broker": "ok",
    }


def test_a_worker_that_hangs_is_found_out_and_found_back(service: Service, queue: JobQueue) -> None:
    wait_till_ready(service)
    workers = service.processes("gpu@")
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        answer = wait_till_silent(service, "gpu")
        waiting = queue.services.broker.llen("gpu")
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
    assert answer["queues"]["gpu"] > service.settings.ready_seconds
    assert waiting <= 1, "canaries pile up"
    wait_till_ready(service)


def test_a_worker_that_answers_pings_and_consumes_nothing_is_found_out(service: Service, queue: JobQueue) -> None:
    wait_till_ready(service)
    worker = [f"io@{socket.gethostname()}"]
    queue.control.cancel_consumer("io", destination=worker, reply=True, timeout=10)
    try:
        wait_till_silent(service, "io")
        assert queue.control.ping(worker, timeout=10) == [{worker[0]: {"ok": "pong"}}]
    finally:
        queue.control.add_consumer("io", destination=worker, reply=True, timeout=10)
    wait_till_ready(service)


def test_a_job_that_takes_longer_than_the_patience_leaves_the_service_ready(service: Service) -> None:
    """No canary comes through the queue meanwhile: the heartbeat of the job stands for it."""
    with Library().open() as library:
        job_id = service.post("/run_detect", data={"manifest_url": library.offer_manifest([SMALL] * 60)})["job_id"]
        service.wait(job_id, lambda job: job["state"] == "running")
        while not service.look(job_id)["finished"]:
            answer = requests.get(f"{service.api}/readyz", timeout=10)
            assert answer.json()["queues"]["gpu"] < service.settings.ready_seconds, answer.text


def test_what_was_done_is_counted_once(service: Service, library: Library) -> None:
    before = wait_till_counted(service)
    url = library.offer_manifest([SMALL, SMALL, Scan(4, 4), SMALL])
    library.offer(Scan(300, 400, info=False, forms=()), "2")
    job = service.finish(service.post("/run_detect", data={"manifest_url": url})["job_id"])
    looked_at = job["coverage"]["detected"] + job["coverage"]["empty"]
    end = time.monotonic() + 30
    wanted = {"pages": 4, "failed": 1, "done": 1, "delivered": 1}
    while (found := count(service, before)) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert (looked_at, found) == (3, wanted)
    after = read_metrics(service)
    host = library.url.removeprefix("http://")
    assert after[f"extractor_fetched_bytes_total {host}"] > 1000
    assert after[f"extractor_fetch_answers_total {host}"] == len(library.asked)
    assert after["extractor_queue_jobs gpu waiting"] == 0


def wait_till_counted(service: Service) -> dict[str, float]:
    """Wait until the pages of every job so far are counted, and return the metrics then."""
    jobs = requests.get(f"{service.api}/jobs", headers=service.headers, timeout=10).json()["jobs"]
    covered = [job["coverage"] for job in jobs]
    pages = sum(each["detected"] + each["empty"] + len(each["failed"]) for each in covered)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        metrics = read_metrics(service)
        if sum(value for name, value in metrics.items() if name.startswith("extractor_pages_total ")) == pages:
            return metrics
        time.sleep(0.1)
    raise AssertionError(f"{pages} pages were looked at, and this is counted: {metrics}")


def count(service: Service, before: dict[str, float]) -> dict[str, float]:
    """Return what has been counted since."""
    now = read_metrics(service)
    new = {name: value - before.get(name, 0) for name, value in now.items()}
    pages = [f"extractor_pages_total {status}" for status in ("detected", "empty", "failed")]
    return {
        "pages": sum(new[name] for name in pages),
        "failed": new["extractor_pages_total failed"],
        "done": new["extractor_jobs done"],
        "delivered": new["extractor_deliveries delivered"],
    }


def test_every_line_of_the_logs_is_an_object_and_those_of_a_job_have_its_id(service: Service, library: Library) -> None:
    url = library.offer_manifest([SMALL])
    done = service.finish(service.post("/run_detect", data={"manifest_url": url})["job_id"])
    gone = service.finish(service.post("/run_detect", data={"manifest_url": f"{library.url}/gone"})["job_id"])
    logs = {name: read_logs(service, name) for name in ("api", "io", "gpu", "post", "schedule")}
    for name, stage in (("io", "download"), ("gpu", "run"), ("post", "deliver")):
        mine = [line["message"] for line in logs[name] if line.get("job_id") == done["job_id"]]
        assert any(f"{stage} begins" in message for message in mine), name
        assert any(f"{stage} is done" in message for message in mine), name
    (failure,) = [line for line in logs["io"] if line.get("job_id") == gone["job_id"] and line["level"] == "WARNING"]
    assert "404" in failure["message"]


def test_an_unforeseen_error_is_logged_with_its_traceback_in_one_field(service: Service, library: Library) -> None:
    folder = service.settings.data_folder / "jobs"
    aside = folder.rename(folder.with_name("jobs-aside"))
    folder.write_text("in the way")
    try:
        job = service.finish(
            service.post("/run_detect", data={"manifest_url": library.offer_manifest([SMALL])})["job_id"]
        )
    finally:
        folder.unlink()
        aside.rename(folder)
    (line,) = [each for each in read_logs(service, "io") if each.get("job_id") == job["job_id"] and "exception" in each]
    assert line["exception"].startswith("Traceback")


def test_requests_are_logged_with_path_status_and_time_and_without_their_query(service: Service) -> None:
    path = "/jobs/asked-for-by-this-test-only"
    requests.get(f"{service.api}{path}?state=%0Adone", headers=service.headers, timeout=10)
    line = wait_for_request(service, path)
    assert (line["method"], line["status"]) == ("GET", 404)
    assert line["ms"] >= 0


def test_no_log_has_a_key_or_a_password(service: Service) -> None:
    logs = {path.name: path.read_text() for path in (service.settings.data_folder / "logs").glob("*.log")}
    assert len(logs) >= 6
    for secret in (PASSWORD, service.headers["X-API-Key"]):
        assert [name for name, text in logs.items() if secret in text] == []
