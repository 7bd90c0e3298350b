"""Run detection jobs end to end in real processes: API, broker, workers, schedule, a library and a client app."""

import json
import pickle
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from sqlalchemy import update
from standardwebhooks import Webhook

from app.auth import remove_secret, renew_secret
from app.config import ROOT
from app.database.sessions import Database
from app.database.tables import Delivery
from app.demo.contact_sheet import parse_annotations
from app.demo.service import build_environment
from app.detection.boxes import compute_iou
from tests.support.hostile_requests import Harm
from tests.support.library import Library, Scan
from tests.support.service import Document, Service, kill, open_service, unblock_page

SAMPLE = ROOT / "iiif" / "sample"
SMALL = Scan(300, 400)
JOBS_OF_TWO_WORKERS = 8


@pytest.fixture(scope="module")
def harm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the malicious weights create if their code runs."""
    return tmp_path_factory.mktemp("harm") / "done"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, harm: Path) -> Iterator[Service]:
    """A service with the default weights, and with malicious weights that run code when they are unpickled."""
    folder = tmp_path_factory.mktemp("service")
    models = folder / "models"
    models.mkdir()
    shutil.copy(ROOT / "models" / "illustrations.pt", models)
    (models / "evil.pt").write_bytes(pickle.dumps(Harm(str(harm))))
    with open_service(folder, models_folder=models) as service:
        yield service


def test_a_detection_delivers_an_annotation_file(service: Service, sample: str) -> None:
    answer = service.post("/run_detect", data={"manifest_url": sample, "experiment_id": "17"})
    job = service.wait_until_finished(answer["job_id"])
    (received,) = service.wait_for_messages()
    assert job["state"] == "done", job["error"]
    assert job["coverage"] == {"detected": 3, "empty": 1, "failed": []}
    assert received.path == "/annotate/sample"
    assert received.fields == {"model": job["model"], "experiment_id": "17"}
    text = received.files["annotation_file"][1].decode()
    assert [line for line in text.splitlines() if line.count(" ") == 1] == [
        f"{n} page_{n:04d}.jpg" for n in range(1, 5)
    ]
    assert requests.get(f"{answer['status_url']}/annotations", headers=service.headers, timeout=5).text == text


def test_the_illustrations_of_the_sample_are_detected(service: Service, sample: str) -> None:
    service.wait_until_finished(service.detect(sample))
    (received,) = service.wait_for_messages()
    found = parse_annotations(received.files["annotation_file"][1].decode())
    for name, true in json.loads((SAMPLE / "truth.json").read_text()).items():
        assert len(found[name]) == len(true), name
        if true:
            assert compute_iou(corners(true), corners(found[name])).max(axis=1).min() > 0.6, name


def corners(xywh: Any) -> np.ndarray:
    boxes = np.array(xywh, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def test_a_cancelled_running_job_delivers_nothing(service: Service, document: Document, sample: str) -> None:
    with service.block_page(document, 3) as page:
        job_id = service.detect(document.url)
        service.wait_for_job(job_id, lambda job: job["progress"]["done"] == 2)
        service.post(f"/jobs/{job_id}/cancel")
        unblock_page(page)
        after = service.wait_until_finished(service.detect(sample))
    assert after["state"] == "done"
    assert (service.get_job(job_id)["state"], service.get_job(job_id)["progress"]["done"]) == ("cancelled", 2)
    service.wait_for_deliveries(after["job_id"])
    assert len(service.wait_for_messages()) == 1


def test_cancelling_a_stuck_job_ends_its_process_and_the_next_job_runs(
    service: Service, document: Document, sample: str
) -> None:
    with service.block_page(document):
        job_id = service.detect(document.url)
        service.wait_for_row(job_id, lambda job: job.starts == 1)
        *_, stuck = service.find_processes("gpu@")
        service.post(f"/jobs/{job_id}/cancel")
        after = service.wait_until_finished(service.detect(sample))
    assert (after["state"], service.get_job(job_id)["state"]) == ("done", "cancelled")
    assert not stuck.is_running()


def test_a_missing_manifest_fails_the_job_with_a_message(service: Service, library: Library) -> None:
    job = service.wait_until_finished(service.detect(f"{library.url}/nowhere.json"))
    assert (job["state"], job["error"]["code"]) == ("failed", "fetch_failed")
    assert "404" in job["error"]["message"]


def test_a_document_that_is_not_a_manifest_fails_the_job(service: Service, library: Library) -> None:
    job = service.wait_until_finished(service.detect(f"{library.offer(SMALL)}/info.json"))
    assert (job["state"], job["error"]["code"]) == ("failed", "bad_manifest")


def test_a_private_address_is_refused_with_a_message(service: Service) -> None:
    job = service.wait_until_finished(service.detect("http://169.254.169.254/manifest.json"))
    assert (job["state"], job["error"]["code"]) == ("failed", "address_refused")
    assert "TRUSTED_HOSTS" in job["error"]["message"]


def test_malicious_weights_are_refused_and_their_code_does_not_run(
    service: Service, library: Library, harm: Path
) -> None:
    form = {"manifest_url": library.offer_manifest([SMALL]), "model": "evil"}
    answer = requests.post(f"{service.api}/run_detect", headers=service.headers, data=form, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("model: evil.pt is ")
    assert not harm.exists()


def test_a_result_is_delivered_at_the_fourth_attempt_after_three_errors(service: Service, library: Library) -> None:
    service.receiver.answers += [500] * 3
    secret = renew_secret(Database(service.settings.sqlalchemy_url), "front")
    job_id = service.detect(library.offer_manifest([SMALL]))
    assert service.wait_until_finished(job_id)["state"] == "done"
    for attempts in range(1, 4):
        service.wait_for_job(job_id, lambda job, count=attempts: job["deliveries"][0]["attempts"] == count)
        make_deliveries_due(service, job_id)
    (delivery,) = service.wait_for_deliveries(job_id)
    received = service.wait_for_messages(4)
    assert (delivery["status"], delivery["attempts"], len(received)) == ("delivered", 4, 4)
    assert [attempt["http_status"] for attempt in delivery["history"]] == [500, 500, 500, 200]
    assert {each.headers["Webhook-Id"] for each in received} == {delivery["id"]}
    for each in received:
        Webhook(secret).verify(each.body, each.headers, json_parse=False)
    remove_secret(Database(service.settings.sqlalchemy_url), "front")


def make_deliveries_due(service: Service, job_id: str) -> None:
    """Make the pending deliveries of a job due now, and end the leases of killed workers on them."""
    database = Database(service.settings.sqlalchemy_url)
    pending = update(Delivery).where(Delivery.job_id == job_id, Delivery.status == "pending")
    with database.session() as session:
        session.execute(pending.values(next_attempt=0, leased_until=0))
    database.close()


def test_a_worker_killed_during_a_delivery_sends_the_same_message_again(service: Service, library: Library) -> None:
    def kill_sender() -> None:
        service.receiver.on_receive = bool
        kill(service.find_processes("post@"))

    service.receiver.on_receive = kill_sender
    job_id = service.detect(library.offer_manifest([SMALL]))
    service.wait_until_finished(job_id)
    service.wait_for_messages()
    make_deliveries_due(service, job_id)
    (delivery,) = service.wait_for_deliveries(job_id)
    assert {received.headers["Webhook-Id"] for received in service.wait_for_messages(2)} == {delivery["id"]}
    assert (delivery["status"], len(service.receiver.received)) == ("delivered", 2)


def test_jobs_finish_while_the_client_app_hangs(service: Service, library: Library) -> None:
    released = threading.Event()
    service.receiver.on_receive = lambda: released.wait(60)
    url = library.offer_manifest([SMALL])
    try:
        jobs = []
        for count in (1, 2):
            jobs.append(service.wait_until_finished(service.detect(url)))
            service.wait_for_messages(count)
        assert [service.get_job(job["job_id"])["deliveries"][0]["status"] for job in jobs] == ["pending"] * 2
    finally:
        released.set()
        service.receiver.on_receive = bool
    assert [job["state"] for job in jobs] == ["done"] * 2
    assert [service.wait_for_deliveries(job["job_id"])[0]["status"] for job in jobs] == ["delivered"] * 2


def test_job_events_are_sent_to_notify_url(service: Service, library: Library) -> None:
    notify_url = f"{service.settings.client_app_url}/news"
    done = service.detect(library.offer_manifest([SMALL]), notify_url=notify_url)
    service.wait_until_finished(done)
    service.wait_for_deliveries(done)
    failed = service.detect(f"{library.url}/nowhere.json", notify_url=notify_url)
    service.wait_until_finished(failed)
    service.wait_for_deliveries(failed)
    events = [json.loads(each.body) for each in service.receiver.received if each.path == "/news"]
    types = {event["type"] for event in events if event["data"]["job_id"] == done}
    assert {"job.started", "job.done"} <= types
    assert "job.failed" not in types
    (failure,) = [event for event in events if event["type"] == "job.failed"]
    assert (failure["data"]["job_id"], failure["data"]["error"]["code"]) == (failed, "fetch_failed")


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
