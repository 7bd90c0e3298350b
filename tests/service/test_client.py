"""The client of the manual, ``docs/client.py``, against a running service: it polls, or receives signed events."""

import json
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from app.auth import renew_secret
from app.config import ROOT
from app.database.sessions import Database
from app.delivery.payloads import build_headers, format_event, make_secret
from app.demo.service import find_free_port
from tests.support.service import Service, open_service

CLIENT = ROOT / "docs" / "client.py"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with the default weights, which find the illustrations of the sample."""
    with open_service(tmp_path_factory.mktemp("service"), models_folder=ROOT / "models") as service:
        yield service


@pytest.fixture(scope="module")
def secret(service: Service) -> str:
    database = Database(service.settings.sqlalchemy_url)
    secret = renew_secret(database, "front")
    database.close()
    return secret


@pytest.fixture(scope="module")
def client() -> SimpleNamespace:
    """The client, imported."""
    return SimpleNamespace(**runpy.run_path(str(CLIENT)))


def run_client(service: Service, secret: str, *arguments: str) -> list[str]:
    """Run the client from the command line; return the lines that it prints."""
    environment = {
        "EXTRACTOR_URL": service.api,
        "EXTRACTOR_KEY": service.headers["X-API-Key"],
        "EXTRACTOR_SECRET": secret,
    }
    command = [sys.executable, str(CLIENT), *arguments]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def list_expected(service: Service, sample: str) -> list[str]:
    """Return the lines for the newest job on the sample, as the API describes it."""
    jobs = requests.get(f"{service.api}/jobs", headers=service.headers, timeout=10).json()["jobs"]
    (newest, *_) = [job for job in jobs if job["manifest_url"] == sample]
    url = f"{service.api}/jobs/{newest['job_id']}/annotations?format=json"
    canvases = requests.get(url, headers=service.headers, timeout=10).json()["canvases"]
    return [f"{each['number']} {each['image_name']} {[box['xywh'] for box in each['detections']]}" for each in canvases]


def test_the_client_polls_and_prints_the_boxes(service: Service, secret: str, sample: str) -> None:
    lines = run_client(service, secret, sample)
    assert lines == list_expected(service, sample)
    assert sum(line.count("], [") + line.endswith("]]") for line in lines) >= 3


def test_the_client_receives_the_event_and_prints_the_boxes(service: Service, secret: str, sample: str) -> None:
    lines = run_client(service, secret, sample, str(find_free_port()))
    assert lines == list_expected(service, sample)
    assert len(lines) == 4


def test_the_client_waits_for_a_failed_job_too(service: Service, client: SimpleNamespace, sample: str) -> None:
    api = client.Client(service.api, service.headers["X-API-Key"])
    job = api.wait(api.detect(sample.replace("manifest", "nowhere"), experiment_id="17"))
    assert (job["state"], job["error"]["code"]) == ("failed", "fetch_failed")


def test_the_client_reports_a_refused_request(service: Service, client: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match="manifest_url"):
        client.Client(service.api, service.headers["X-API-Key"]).detect("nowhere")


def post_event(client: SimpleNamespace, headers: dict[str, str], body: bytes, secret: str) -> tuple[int, Any]:
    """Send an event to the receiver of the client; return the status and the jobs that have finished for it."""
    with client.EventReceiver(0, secret) as receiver:
        thread = threading.Thread(target=receiver.handle_request)
        thread.start()
        answer = requests.post(f"http://127.0.0.1:{receiver.server_port}", data=body, headers=headers, timeout=10)
        thread.join()
        return answer.status_code, receiver.finished


def test_the_client_accepts_signed_events_only(client: SimpleNamespace) -> None:
    secret, job = make_secret(), {"job_id": "1", "state": "done"}
    body = format_event("job.done", "2026-01-02T03:04:05Z", job).encode()
    now = int(time.time())
    assert post_event(client, build_headers("message", body, now, secret), body, secret) == (204, {"1": job})
    for headers in (
        build_headers("message", body, now, None),
        build_headers("message", body, now, make_secret()),
        build_headers("message", body, now - 310, secret),
        build_headers("message", body + b" ", now, secret),
    ):
        assert post_event(client, headers, body, secret) == (403, {})


def test_the_client_ignores_events_of_a_job_at_work(client: SimpleNamespace) -> None:
    secret = make_secret()
    body = json.dumps({"type": "job.progress", "data": {"job_id": "1", "state": "running"}}).encode()
    headers = build_headers("message", body, int(time.time()), secret)
    assert post_event(client, headers, body, secret) == (204, {})
