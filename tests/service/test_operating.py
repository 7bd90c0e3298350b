"""Test what an operator sees of a running service: readiness, metrics and logs."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from app import create_app
from app.demo.service import find_free_port
from app.workers.queue import JobQueue
from tests.support.library import Library, Scan
from tests.support.service import Document, Service, open_service, unblock_page

PASSWORD = "s3cret-of-the-broker"
SMALL = Scan(300, 400)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, small_models: Path) -> Iterator[Service]:
    settings: dict[str, Any] = {"models_folder": small_models, "ready_seconds": 4, "log_format": "json"}
    settings["celery_broker_url"] = f"redis://:{PASSWORD}@127.0.0.1:{find_free_port()}/0"
    with open_service(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def queue(service: Service) -> Iterator[JobQueue]:
    """The queue of the running service, opened by the test process."""
    app = create_app(service.settings)
    yield app.extensions["queue"]
    app.extensions["queue"].close()
    app.extensions["services"].database.close()


def wait_until_ready(service: Service) -> None:
    service.poll(lambda: get_readyz(service), lambda answer: answer.status_code == 200)


def get_readyz(service: Service) -> requests.Response:
    return requests.get(f"{service.api}/readyz", timeout=10)


def wait_until_not_ready(service: Service, queue: str) -> dict[str, Any]:
    """Wait until ``/readyz`` answers 503 and names the queue alone as the cause; return the body."""

    def names_the_queue(answer: requests.Response) -> bool:
        return answer.status_code == 503 and f"on the queue {queue} for" in answer.json()["message"]

    body: dict[str, Any] = service.poll(lambda: get_readyz(service), names_the_queue).json()
    return body


def read_metrics(service: Service) -> dict[str, float]:
    """Return the value of every sample of ``/metrics``, by its name and labels."""
    text = requests.get(f"{service.api}/metrics", timeout=10).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {" ".join([each.name, *each.labels.values()]): each.value for each in samples}


def read_logs(service: Service, name: str) -> list[dict[str, Any]]:
    """Return the log of a process; every line must be a JSON object."""
    return [
        json.loads(line) for line in (service.settings.data_folder / "logs" / f"{name}.log").read_text().splitlines()
    ]


def wait_for_request(service: Service, path: str) -> dict[str, Any]:
    """Wait for the log line of a request and return it; it is written after the client has received the answer."""
    lines = service.poll(lambda: [line for line in read_logs(service, "api") if line.get("path") == path], bool)
    return dict(lines[0])


def test_an_idle_service_becomes_ready(service: Service) -> None:
    wait_until_ready(service)
    assert requests.get(f"{service.api}/healthz", timeout=10).json() == {
        "status": "ok",
        "database": "ok",
        "broker": "ok",
    }


def test_a_suspended_worker_makes_the_service_not_ready(service: Service, queue: JobQueue) -> None:
    wait_until_ready(service)
    workers = service.find_processes("gpu@")
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        answer = wait_until_not_ready(service, "gpu")
        waiting = queue.services.broker.llen("gpu")
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
    assert answer["queues"]["gpu"] > service.settings.ready_seconds
    assert waiting <= 1, "the canary messages accumulate"
    wait_until_ready(service)


def test_a_worker_that_answers_pings_but_consumes_nothing_is_not_ready(service: Service, queue: JobQueue) -> None:
    wait_until_ready(service)
    worker = [f"io@{socket.gethostname()}"]
    queue.control.cancel_consumer("io", destination=worker, reply=True, timeout=10)
    try:
        wait_until_not_ready(service, "io")
        assert queue.control.ping(worker, timeout=10) == [{worker[0]: {"ok": "pong"}}]
    finally:
        queue.control.add_consumer("io", destination=worker, reply=True, timeout=10)
    wait_until_ready(service)


def test_a_job_longer_than_ready_seconds_leaves_the_service_ready(service: Service, document: Document) -> None:
    """While the job runs no canary is consumed; the heartbeat of the job counts instead."""
    limit = service.settings.ready_seconds
    wait_until_ready(service)
    with service.block_page(document) as page:
        job_id = service.detect(document.url)
        service.wait_for_row(job_id, lambda job: job.starts == 1)
        end = time.monotonic() + 1.5 * limit
        while time.monotonic() < end:
            answer = get_readyz(service)
            assert answer.json()["queues"]["gpu"] < limit, answer.text
            time.sleep(0.1)
        assert service.get_job(job_id)["state"] == "running"
        unblock_page(page)
        service.wait_until_finished(job_id)


def test_metrics_count_every_page_job_and_delivery_once(service: Service, library: Library) -> None:
    before = wait_until_counted(service)
    url = library.offer_manifest([SMALL, SMALL, Scan(4, 4), SMALL])
    library.offer(Scan(300, 400, info=False, forms=()), "2")
    job = service.wait_until_finished(service.detect(url))
    assert job["coverage"]["detected"] + job["coverage"]["empty"] == 3
    expected = {"pages": 4, "failed": 1, "done": 1, "delivered": 1}
    service.poll(lambda: count_since(service, before), lambda found: found == expected)
    after = read_metrics(service)
    host = library.url.removeprefix("http://")
    assert after[f"extractor_fetched_bytes_total {host}"] > 1000
    assert after[f"extractor_fetch_answers_total {host}"] == len(library.asked)
    assert after["extractor_queue_jobs gpu waiting"] == 0


def wait_until_counted(service: Service) -> dict[str, float]:
    """Wait until the metrics include all pages of all jobs; return the metrics."""
    jobs = requests.get(f"{service.api}/jobs", headers=service.headers, timeout=10).json()["jobs"]
    covered = [job["coverage"] for job in jobs]
    pages = sum(each["detected"] + each["empty"] + len(each["failed"]) for each in covered)

    def count_pages(metrics: dict[str, float]) -> float:
        return sum(value for name, value in metrics.items() if name.startswith("extractor_pages_total "))

    metrics: dict[str, float] = service.poll(
        lambda: read_metrics(service), lambda metrics: count_pages(metrics) == pages
    )
    return metrics


def count_since(service: Service, before: dict[str, float]) -> dict[str, float]:
    """Return the growth of the page, job and delivery counters since ``before``."""
    now = read_metrics(service)
    new = {name: value - before.get(name, 0) for name, value in now.items()}
    pages = [f"extractor_pages_total {status}" for status in ("detected", "empty", "failed")]
    return {
        "pages": sum(new[name] for name in pages),
        "failed": new["extractor_pages_total failed"],
        "done": new["extractor_jobs done"],
        "delivered": new["extractor_deliveries delivered"],
    }


def test_json_log_lines_of_a_job_have_its_id(service: Service, library: Library) -> None:
    url = library.offer_manifest([SMALL])
    done = service.wait_until_finished(service.detect(url))
    gone = service.wait_until_finished(
        service.post("/run_detect", data={"manifest_url": f"{library.url}/gone"})["job_id"]
    )
    logs = {name: read_logs(service, name) for name in ("api", "io", "gpu", "post", "schedule")}
    for name, stage in (("io", "download"), ("gpu", "run"), ("post", "deliver")):
        messages = [line["message"] for line in logs[name] if line.get("job_id") == done["job_id"]]
        assert any(f"{stage} begins" in message for message in messages), name
        assert any(f"{stage} is done" in message for message in messages), name
    (failure,) = [line for line in logs["io"] if line.get("job_id") == gone["job_id"] and line["level"] == "WARNING"]
    assert "404" in failure["message"]


def test_the_traceback_of_an_unexpected_error_is_one_log_field(service: Service, library: Library) -> None:
    folder = service.settings.data_folder / "jobs"
    folder.mkdir(exist_ok=True)  # the first job makes it
    aside = folder.rename(folder.with_name("jobs-aside"))
    folder.write_text("a file in place of the folder")
    try:
        job = service.wait_until_finished(service.detect(library.offer_manifest([SMALL])))
    finally:
        folder.unlink()
        aside.rename(folder)
    (line,) = [each for each in read_logs(service, "io") if each.get("job_id") == job["job_id"] and "exception" in each]
    assert line["exception"].startswith("Traceback")


def test_request_log_lines_have_path_and_status_but_no_query(service: Service) -> None:
    path = "/jobs/asked-for-by-this-test-only"
    requests.get(f"{service.api}{path}?state=%0Adone", headers=service.headers, timeout=10)
    line = wait_for_request(service, path)
    assert (line["method"], line["status"]) == ("GET", 404)
    assert line["ms"] >= 0


def test_no_log_contains_a_key_or_a_password(service: Service) -> None:
    logs = {path.name: path.read_text() for path in (service.settings.data_folder / "logs").glob("*.log")}
    assert len(logs) >= 6
    for secret in (PASSWORD, service.headers["X-API-Key"]):
        assert [name for name, text in logs.items() if secret in text] == []
