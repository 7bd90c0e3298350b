"""The whole way, with real processes: broker, workers, schedule, API, a library and a client app."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import redis
import requests
from sqlalchemy import update
from standardwebhooks import Webhook

from app.auth import remove_secret, renew_secret
from app.config import ROOT, Settings
from app.database.sessions import Database
from app.database.tables import Delivery
from app.demo.client_app import ClientApp, serve
from app.demo.contact_sheet import parse_annotations
from app.demo.iiif_server import create_iiif_server
from app.demo.service import build_environment, choose_settings, find_free_port, wait_for_api
from app.detection.boxes import compute_iou
from app.storage import Storage
from tests.conftest import wait_for_broker
from tests.support.service import Service, open_service

SAMPLE = ROOT / "iiif" / "sample"
COPIES = 6


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The sample document, several times over."""
    folder = tmp_path_factory.mktemp("library")
    for copy in range(COPIES):
        for path in SAMPLE.glob("*.jpg"):
            shutil.copy(path, folder / f"{copy}_{path.name}")
    with serve(create_iiif_server(folder)) as url:
        yield url


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(autouse=True)
def _clean_receiver(service: Service) -> None:
    service.receiver.received.clear()


def test_a_manifest_goes_in_and_an_annotation_file_arrives(service: Service) -> None:
    with serve(create_iiif_server(SAMPLE)) as sample:
        answer = service.post("/run_detect", data={"manifest_url": f"{sample}/manifest.json", "experiment_id": "17"})
        job = service.finish(answer["job_id"])
    (received,) = service.receiver.wait()
    assert job["state"] == "done", job["error"]
    assert job["coverage"] == {"detected": 3, "empty": 1, "failed": []}
    assert received.path == "/annotate/sample"
    assert received.fields == {"model": job["model"], "experiment_id": "17"}
    text = received.files["annotation_file"][1].decode()
    assert [line for line in text.splitlines() if line.count(" ") == 1] == [
        f"{n} page_{n:04d}.jpg" for n in range(1, 5)
    ]
    assert requests.get(f"{answer['status_url']}/annotations", headers=service.headers, timeout=5).text == text


def test_the_boxes_of_the_sample_are_found(service: Service) -> None:
    with serve(create_iiif_server(SAMPLE)) as sample:
        job_id = service.post("/run_detect", data={"manifest_url": f"{sample}/manifest.json"})["job_id"]
        service.finish(job_id)
    (received,) = service.receiver.wait()
    found = parse_annotations(received.files["annotation_file"][1].decode())
    for name, true in json.loads((SAMPLE / "truth.json").read_text()).items():
        assert len(found[name]) == len(true), name
        if true:
            assert compute_iou(corners(true), corners(found[name])).max(axis=1).min() > 0.6, name


def corners(xywh: Any) -> np.ndarray:
    boxes = np.array(xywh, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def test_a_killed_detection_goes_on_at_the_next_page(service: Service, library: str) -> None:
    job_id = service.post("/run_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"]
    service.wait(job_id, lambda job: job["state"] == "running" and job["progress"]["done"] >= 2)
    seen = service.settings.data_folder / "jobs" / job_id / "detections"
    *_, child = service.processes("gpu@")
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    written = {path.name: path.stat().st_ino for path in seen.glob("*.json")}
    job = service.finish(job_id)
    assert job["state"] == "done", job["error"]
    assert job["coverage"]["detected"] + job["coverage"]["empty"] == 4 * COPIES
    assert all((seen / name).stat().st_ino == inode for name, inode in written.items()), "a page was detected twice"
    assert len(service.receiver.wait()) == 1


@pytest.mark.parametrize("worker", ["gpu@", "io@"])
def test_a_killed_worker_is_started_again_and_nothing_is_lost(service: Service, library: str, worker: str) -> None:
    for process in service.processes(worker):
        process.send_signal(signal.SIGKILL)
    job_id = service.post("/delete_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"]
    assert service.finish(job_id)["state"] == "done"
    assert len(service.receiver.wait()) == 1


def test_a_broker_that_loses_everything_loses_no_job(service: Service, library: str) -> None:
    form = {"manifest_url": f"{library}/manifest.json"}
    jobs = [service.post("/run_detect", data=form)["job_id"] for _ in range(3)]
    service.wait(jobs[0], lambda job: job["state"] == "running" and job["progress"]["done"] >= 1)
    with redis.Redis.from_url(service.settings.broker_url) as broker:
        broker.flushall()
    assert [service.finish(job_id)["state"] for job_id in jobs] == ["done"] * 3
    assert len(service.receiver.wait(3)) == 3


def test_a_broker_that_is_killed_comes_back_and_no_job_is_lost(service: Service, library: str) -> None:
    job_id = service.post("/run_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"]
    service.wait(job_id, lambda job: job["state"] == "running" and job["progress"]["done"] >= 1)
    (broker,) = service.processes("-server")  # redis-server or valkey-server
    broker.send_signal(signal.SIGKILL)
    assert service.finish(job_id)["state"] == "done"
    assert len(service.receiver.wait()) == 1


def test_a_running_job_is_cancelled_and_delivers_nothing(service: Service, library: str) -> None:
    job_id = service.post("/run_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"]
    service.wait(job_id, lambda job: job["state"] == "running" and job["progress"]["done"] >= 1)
    service.post(f"/jobs/{job_id}/cancel")
    after = service.post("/run_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"]
    assert service.finish(after)["state"] == "done"
    assert service.look(job_id)["state"] == "cancelled"
    assert len(service.receiver.wait()) == 1


def test_a_cancelled_stage_that_is_stuck_is_ended_and_the_next_job_runs(service: Service, library: str) -> None:
    with serve(create_iiif_server(SAMPLE)) as sample:
        stuck = f"{sample}/manifest.json"
        service.finish(service.post("/run_detect", data={"manifest_url": stuck})["job_id"])
        image = next(Storage(service.settings.data_folder).images(stuck).glob("*.image"))
        image.unlink()
        os.mkfifo(image)  # whoever opens it waits for ever
        job_id = service.post("/run_detect", data={"manifest_url": stuck})["job_id"]
        service.wait(job_id, lambda job: job["state"] == "running" and job["progress"]["total"] == 4)
        after = service.post("/run_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"]
        service.post(f"/jobs/{job_id}/cancel")
        assert service.finish(after)["state"] == "done"
        assert service.look(job_id)["state"] == "cancelled"
        service.receiver.wait(2)


def test_a_worker_that_is_told_to_stop_hands_its_job_to_the_next(service: Service, library: str) -> None:
    job_id = service.post("/run_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"]
    service.wait(job_id, lambda job: job["state"] == "running" and job["progress"]["done"] >= 1)
    parent, *_ = service.processes("gpu@")
    parent.send_signal(signal.SIGTERM)
    parent.wait(15)
    assert service.finish(job_id)["state"] == "done"
    assert len(service.receiver.wait()) == 1


def test_a_manifest_that_is_not_there_fails_with_a_sentence(service: Service, library: str) -> None:
    job_id = service.post("/run_detect", data={"manifest_url": f"{library}/nowhere.json"})["job_id"]
    job = service.finish(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "fetch_failed")
    assert "404" in job["error"]["message"]


def test_a_page_that_is_not_a_manifest_fails_with_a_sentence(service: Service, library: str) -> None:
    job_id = service.post("/run_detect", data={"manifest_url": f"{library}/iiif/0_page_0001.jpg/info.json"})["job_id"]
    job = service.finish(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "bad_manifest")


def test_a_private_address_is_refused_with_a_sentence(service: Service) -> None:
    job_id = service.post("/run_detect", data={"manifest_url": "http://169.254.169.254/manifest.json"})["job_id"]
    job = service.finish(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "address_refused")
    assert "TRUSTED_HOSTS" in job["error"]["message"]


def test_a_client_app_that_fails_three_times_gets_the_result_at_the_fourth(service: Service) -> None:
    service.receiver.answers += [500] * 3
    secret = renew_secret(Database(service.settings.sqlalchemy_url), "front")
    with serve(create_iiif_server(SAMPLE)) as sample:
        job_id = service.post("/run_detect", data={"manifest_url": f"{sample}/manifest.json"})["job_id"]
        assert service.finish(job_id)["state"] == "done"
    for tries in range(1, 4):
        service.wait(job_id, lambda job, tries=tries: job["deliveries"][0]["attempts"] == tries)
        let_time_pass(service, job_id)
    (delivery,) = service.settle(job_id)
    received = service.receiver.wait(4)
    assert (delivery["status"], delivery["attempts"], len(received)) == ("delivered", 4, 4)
    assert [attempt["http_status"] for attempt in delivery["history"]] == [500, 500, 500, 200]
    assert {each.headers["Webhook-Id"] for each in received} == {delivery["id"]}
    for each in received:
        Webhook(secret).verify(each.body, each.headers, json_parse=False)
    remove_secret(Database(service.settings.sqlalchemy_url), "front")


def let_time_pass(service: Service, job_id: str) -> None:
    """Let the waits of a job's deliveries be over, and the reservation of whoever died in the middle of a try."""
    database = Database(service.settings.sqlalchemy_url)
    pending = update(Delivery).where(Delivery.job_id == job_id, Delivery.status == "pending")
    with database.session() as session:
        session.execute(pending.values(next_attempt=0, leased_until=0))
    database.close()


def test_a_worker_that_dies_when_the_client_app_has_the_result_sends_the_same_message_again(service: Service) -> None:
    def kill() -> None:
        service.receiver.on_receive = bool
        for process in service.processes("post@"):
            process.send_signal(signal.SIGKILL)

    service.receiver.on_receive = kill
    with serve(create_iiif_server(SAMPLE)) as sample:
        job_id = service.post("/run_detect", data={"manifest_url": f"{sample}/manifest.json"})["job_id"]
        service.finish(job_id)
        service.receiver.wait()
    let_time_pass(service, job_id)
    (delivery,) = service.settle(job_id)
    assert {received.headers["Webhook-Id"] for received in service.receiver.wait(2)} == {delivery["id"]}
    assert (delivery["status"], len(service.receiver.received)) == ("delivered", 2)


def test_a_detection_that_is_killed_when_its_results_are_saved_detects_nothing_again(
    service: Service, library: str
) -> None:
    job_id = service.post("/run_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"]
    seen = service.settings.data_folder / "jobs" / job_id / "detections"
    end = time.monotonic() + 120
    while len(written := {path.name: path.stat().st_ino for path in seen.glob("*.json")}) < 4 * COPIES:
        assert time.monotonic() < end, "the detection does not get on"
    *_, child = service.processes("gpu@")
    child.send_signal(signal.SIGKILL)
    assert service.finish(job_id)["state"] == "done"
    assert {path.name: path.stat().st_ino for path in seen.glob("*.json")} == written
    (delivery,) = service.settle(job_id)
    assert [received.headers["Webhook-Id"] for received in service.receiver.wait()] == [delivery["id"]]


def test_a_client_app_that_hangs_holds_up_no_job(service: Service) -> None:
    released = threading.Event()
    service.receiver.on_receive = lambda: released.wait(60)
    try:
        with serve(create_iiif_server(SAMPLE)) as sample:
            jobs = [service.post("/run_detect", data={"manifest_url": f"{sample}/manifest.json"}) for _ in range(2)]
            assert [service.finish(job["job_id"])["state"] for job in jobs] == ["done"] * 2
    finally:
        released.set()
        service.receiver.on_receive = bool
    assert [service.settle(job["job_id"])[0]["status"] for job in jobs] == ["delivered"] * 2


def test_a_job_tells_of_its_life_to_the_address_that_its_request_names(service: Service, library: str) -> None:
    news = f"{service.settings.client_app_url}/news"
    form = {"manifest_url": f"{library}/manifest.json", "notify_url": news}
    done = service.post("/run_detect", data=form)["job_id"]
    service.finish(done)
    service.settle(done)
    failed = service.post("/run_detect", data=form | {"manifest_url": f"{library}/nowhere.json"})["job_id"]
    service.finish(failed)
    service.settle(failed)
    events = [json.loads(each.body) for each in service.receiver.received if each.path == "/news"]
    told = {event["type"] for event in events if event["data"]["job_id"] == done}
    assert {"job.started", "job.done"} <= told
    assert "job.failed" not in told
    (last,) = [event for event in events if event["type"] == "job.failed"]
    assert (last["data"]["job_id"], last["data"]["error"]["code"]) == (failed, "fetch_failed")


@contextmanager
def run_as_the_manual_has_it(folder: Path, **values: Any) -> Iterator[Service]:
    """One worker that serves every queue, the API by ``python run.py`` with DEBUG, a broker with a password."""
    receiver = ClientApp()
    binaries = Path(sys.executable).parent
    with ExitStack() as stack:
        client_url = stack.enter_context(serve(receiver.create_app()))
        url = f"redis://:s3cret+@127.0.0.1:{find_free_port()}"
        settings = choose_settings(folder, celery_broker_url=url, debug=True, client_app_url=client_url, **values)
        Database(settings.sqlalchemy_url).upgrade()
        worker = ["-A", "app.app.celery", "worker", "-B", "-c", "1", "--loglevel=info", "-P", "threads"]
        commands = [
            [sys.executable, "-m", "app.workers.broker", "serve"],
            [str(binaries / "celery"), *worker],
            [sys.executable, "run.py"],
        ]
        for command in commands:
            stack.callback(stop, start(command, settings))
            if "app.workers.broker" in command:
                wait_for_broker(settings.broker_url)
        api = f"http://127.0.0.1:{settings.api_port}"
        wait_for_api(api, folder)
        yield Service(api, settings, receiver)


def test_a_single_worker_is_ready_while_a_long_stage_holds_it(tmp_path: Path, library: str) -> None:
    values: dict[str, Any] = {"heartbeat_seconds": 0.5, "ready_seconds": 4, "batch_size": 1}
    with run_as_the_manual_has_it(tmp_path, **values) as service:
        job_id, ready = service.post("/run_detect", data={"manifest_url": f"{library}/manifest.json"})["job_id"], False
        while not service.look(job_id)["finished"]:
            answer = requests.get(f"{service.api}/readyz", timeout=10)
            assert answer.status_code == 200 or not ready, answer.text
            ready = ready or answer.status_code == 200
        assert ready


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """A run in the background of a script ignores SIGINT, and so would every process that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_the_development_server_ends_with_ctrl_c(tmp_path: Path) -> None:
    settings = choose_settings(tmp_path, debug=True)
    process = start([sys.executable, "run.py"], settings)
    wait_for_api(f"http://127.0.0.1:{settings.api_port}", tmp_path)
    for each in [*psutil.Process(process.pid).children(), process]:
        each.send_signal(signal.SIGINT)
    process.wait(20)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{settings.api_port}/models", timeout=2)


def start(command: list[str], settings: Settings) -> subprocess.Popen[bytes]:
    with (settings.data_folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=log, stderr=log)


def stop(process: subprocess.Popen[bytes]) -> None:
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        each.terminate()
    process.wait(30)
