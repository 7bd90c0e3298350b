"""What may happen on our own side while a thousand manifests run: killed processes, a broker that comes and goes, a
full disk. Everything here is real: broker, workers, SIGKILL."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
import requests
from PIL import Image
from sqlalchemy import update

from app.config import ROOT
from app.database.sessions import Database
from app.database.tables import Job
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.demo.service import run_service
from tests.support.library import Library, Scan
from tests.support.service import Service, open_service

SMALL = Scan(300, 400)
PAGES = 6


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(autouse=True)
def _clean_receiver(service: Service) -> None:
    service.receiver.received.clear()


@pytest.fixture
def sample() -> Iterator[str]:
    """The sample document; its manifest."""
    with serve(create_iiif_server(ROOT / "iiif" / "sample")) as url:
        yield f"{url}/manifest.json"


@pytest.fixture
def document(tmp_path: Path) -> Iterator[str]:
    """A document of a few pages; its manifest."""
    for number in range(PAGES):
        Image.new("RGB", (300, 400), "white").save(tmp_path / f"{number}.jpg")
    with serve(create_iiif_server(tmp_path)) as url:
        yield f"{url}/manifest.json"


def detect(service: Service, url: str) -> str:
    job_id: str = service.post("/run_detect", data={"manifest_url": url})["job_id"]
    return job_id


def kill_tree(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=10)


def read_inodes(service: Service, job_id: str, kind: str) -> dict[str, int]:
    """Return the files of a job's pages: one that is written again is another."""
    return {path.name: path.stat().st_ino for path in (service.settings.data_folder / "jobs" / job_id / kind).glob("*")}


@contextmanager
def page_that_hangs(service: Service, url: str) -> Iterator[Path]:
    """Let whoever opens the first cached image of a document wait, until somebody writes into it."""
    service.finish(detect(service, url))
    service.receiver.wait()
    service.receiver.received.clear()
    image = min(service.storage.images(url).glob("*.image"))
    kept = image.read_bytes()
    image.unlink()
    os.mkfifo(image)
    yield image
    image.unlink(missing_ok=True)  # what is not an image is thrown out of the cache
    image.write_bytes(kept)


def let_go_on(page: Path) -> None:
    page.write_bytes(b"not the image")


def test_a_page_that_kills_the_process_every_time_fails_its_job_and_the_next_runs(
    service: Service, document: str, sample: str
) -> None:
    with page_that_hangs(service, document):
        job_id, after = detect(service, document), detect(service, sample)
        for starts in (1, 2):
            service.wait_for_row(job_id, lambda job, starts=starts: job.starts == starts)
            kill_tree(service.processes("gpu@")[-1:])
        job = service.finish(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "worker_lost")
    assert "2 times" in job["error"]["message"]
    assert service.finish(after)["state"] == "done"


def test_a_worker_tree_that_is_killed_loses_nothing_and_looks_at_no_page_twice(service: Service, document: str) -> None:
    job_id = detect(service, document)
    service.wait_for_row(job_id, lambda job: job.state == "running" and job.done >= 1)
    kill_tree(service.processes("gpu@"))
    before = read_inodes(service, job_id, "detections")
    assert service.finish(job_id)["state"] == "done"
    after = read_inodes(service, job_id, "detections")
    assert (len(after), before.items() <= after.items()) == (PAGES, True)
    assert len(service.receiver.wait()) == 1


def test_a_worker_killed_after_its_result_is_saved_does_not_look_again(service: Service, document: str) -> None:
    job_id = detect(service, document)
    service.wait_for_row(job_id, lambda job: service.storage.job(job_id).annotations.exists())
    kill_tree(service.processes("gpu@"))
    before = read_inodes(service, job_id, "detections")
    assert service.finish(job_id)["state"] == "done"
    assert read_inodes(service, job_id, "detections") == before
    assert len(service.receiver.wait()) == 1


def test_a_job_longer_than_the_brokers_patience_runs_once_and_those_behind_it_in_order(
    service: Service, document: str, library: Library
) -> None:
    with page_that_hangs(service, document) as page:
        first = detect(service, document)
        service.wait_for_row(first, lambda job: job.starts == 1)
        behind = [detect(service, library.offer_manifest([SMALL], path=f"/{n}/manifest.json")) for n in range(20)]
        for job_id in behind:
            service.wait_for_row(job_id, lambda job: job.state == "running")
        expire_messages(service)
        wait_for_redelivery(service, "gpu")
        assert service.look(first)["state"] == "running"
        let_go_on(page)
        jobs = [service.finish(job_id) for job_id in (first, *behind)]
        assert len(service.receiver.wait(21)) == 21
    assert [job["state"] for job in jobs] == ["done"] * 21
    assert sum(job["progress"]["done"] for job in jobs) == PAGES + 20
    assert service.read_order([first, *behind]) == [first, *behind]


def expire_messages(service: Service) -> None:
    """Let the visibility timeout of a day end for each message that a worker holds."""
    with redis.Redis.from_url(service.settings.broker_url) as broker:
        held = broker.zrange("unacked_index", 0, -1)
        assert held
        broker.zadd("unacked_index", dict.fromkeys(held, 1), xx=True)


def wait_for_redelivery(service: Service, queue: str) -> None:
    """Wait until the broker has put a message back on a queue because no worker has answered for it."""
    end = time.monotonic() + 60
    with redis.Redis.from_url(service.settings.broker_url) as broker:
        while time.monotonic() < end:
            if any(json.loads(message)["headers"].get("redelivered") for message in broker.lrange(queue, 0, -1)):
                return
            time.sleep(0.1)
    raise AssertionError("The broker gave no message out again.")


def test_one_apps_many_manifests_hold_up_anothers_single_one_for_the_job_in_hand_only(
    service: Service, document: str, library: Library
) -> None:
    other = service.join("other")
    with page_that_hangs(service, document) as page:
        in_hand = detect(service, document)
        service.wait_for_row(in_hand, lambda job: job.starts == 1)
        many = [detect(service, library.offer_manifest([SMALL], path=f"/{n}/manifest.json")) for n in range(30)]
        single = detect(other, library.offer_manifest([SMALL], path="/single/manifest.json"))
        for job_id in (*many, single):
            service.wait_for_row(job_id, lambda job: job.state == "running")
        let_go_on(page)
        assert [service.finish(job_id)["state"] for job_id in many] == ["done"] * 30
    assert other.finish(single)["state"] == "done"
    assert service.read_order([in_hand, *many, single]).index(single) <= 1


def test_connections_that_are_cut_ten_times_lose_nothing(service: Service, document: str) -> None:
    jobs = [detect(service, document) for _ in range(3)]
    with redis.Redis.from_url(service.settings.broker_url) as broker:
        for _ in range(10):
            broker.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(0.3)  # so that some have connected again
    assert [service.finish(job_id)["state"] for job_id in jobs] == ["done"] * 3
    assert len(service.receiver.wait(3)) == 3


def test_a_broker_that_stays_away_for_three_seconds_loses_nothing(service: Service, document: str) -> None:
    jobs = [detect(service, document) for _ in range(2)]
    service.wait_for_row(jobs[0], lambda job: job.state == "running")
    service.control("stop", "broker")
    form = {"manifest_url": document}
    refused = requests.post(f"{service.api}/run_detect", headers=service.headers, data=form, timeout=5)
    time.sleep(3)
    service.control("start", "broker")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    assert [service.finish(job_id)["state"] for job_id in jobs] == ["done"] * 2
    assert len(service.receiver.wait(2)) == 2
    known = requests.get(f"{service.api}/jobs?limit=1", headers=service.headers, timeout=5).json()["jobs"]
    assert known[0]["job_id"] == jobs[1], "a job that was refused is there"


def test_jobs_in_hand_go_on_after_the_power_was_off_for_days(tmp_path: Path, document: str) -> None:
    with open_service(tmp_path / "service") as service, page_that_hangs(service, document) as page:
        job_id = detect(service, document)
        service.wait_for_row(job_id, lambda job: job.starts == 1)
        kill_tree([service.supervisor, *service.supervisor.children(recursive=True)])
        with Database(service.settings.sqlalchemy_url).session() as session:
            session.execute(update(Job).values(heartbeat=Job.heartbeat - 3 * 86400))
        with run_service(service.settings):
            let_go_on(page)
            assert service.finish(job_id)["state"] == "done"
            assert len(service.receiver.wait()) == 1


def test_a_full_disk_fails_the_job_with_the_reason_and_leaves_nothing_half_written(
    tmp_path: Path, library: Library
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    if subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs a small file system of its own: unshare is not allowed here")
    # Every file takes a block of 4 kB and a page is two files: there is room for five pages of eight.
    mount = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=40k none "{images}" && exec "$0" "$@"']
    with open_service(tmp_path, mount) as service:
        job = service.finish(detect(service, library.offer_manifest([SMALL] * 8)))
        assert (job["state"], job["error"]["code"]) == ("failed", "no_space")
        assert "no space left" in job["error"]["message"]
        seen = Path(f"/proc/{service.supervisor.pid}/root{images}")
        left = [path for path in seen.rglob("*") if path.is_file()]
        assert {path.suffix for path in left} <= {".image", ".json"}, "a part of a file was left"
        for path in left:
            check_whole(path)
            path.unlink()
        job = service.finish(detect(service, library.offer_manifest([SMALL])))
        assert job["state"] == "done", job["error"]


def check_whole(path: Path) -> None:
    if path.suffix == ".json":
        json.loads(path.read_bytes())
    else:
        with Image.open(path) as image:
            image.load()
