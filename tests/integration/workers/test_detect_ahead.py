"""Detection ahead: the ``gpu`` worker detects pages of a job that still downloads."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from PIL import Image

from app.database.tables import Job
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.detection.detector import Detector
from app.errors import LeaseLost
from app.jobs.states import DOWNLOAD, State
from app.monitoring.counters import PAGES as PAGES_BY_STATUS
from app.pipelines.detection import page_fetching
from app.pipelines.detection.ahead import claim
from app.services import Services
from app.workers import detection_stages as detection
from app.workers.queue import AHEAD, JobQueue
from tests.support.rows import change_job
from tests.support.yolov5_networks import make_network, save

PAGES = 5


@pytest.fixture
def settings(settings: Any) -> Any:
    save(settings.models_folder / "illustrations.pt", model=make_network())
    chosen = {"trusted_hosts": ("127.0.0.1",), "model_size": 64, "device": "cpu"}
    return settings.model_copy(update=chosen)


@pytest.fixture
def queue(app: Flask) -> JobQueue:
    queue: JobQueue = app.extensions["queue"]
    queue.loader.import_default_modules()
    return queue


@pytest.fixture
def services(queue: JobQueue) -> Services:
    return queue.services


class SlowLibrary:
    """A library that holds back its last page.

    Attributes:
        url: Address of the manifest.
        release: Event after which the last page is sent.
    """

    def __init__(self, folder: Path) -> None:
        for number in range(PAGES):
            Image.new("RGB", (64, 64), "white").save(folder / f"{number}.jpg")
        self.url = ""
        self.release = threading.Event()
        self.app = create_iiif_server(folder)
        self.app.before_request(self._hold)

    def _hold(self) -> None:
        if f"{PAGES - 1}.jpg/full" in request.path:
            self.release.wait(300)


@pytest.fixture
def slow_library(tmp_path: Path) -> Iterator[SlowLibrary]:
    folder = tmp_path / "document"
    folder.mkdir()
    library = SlowLibrary(folder)
    with serve(library.app) as url:
        library.url = f"{url}/manifest.json"
        yield library
        library.release.set()


@pytest.fixture
def job(client: FlaskClient, headers: dict[str, str], slow_library: SlowLibrary, services: Services) -> Job:
    """A job whose download begins."""
    client.post("/run_detect", headers=headers, data={"manifest_url": slow_library.url})
    job = services.jobs.lease_next(DOWNLOAD)
    assert job is not None
    return job


@pytest.fixture
def downloading(
    services: Services, job: Job, slow_library: SlowLibrary, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Future[Any]]:
    """The download of the job, when only its last page is missing."""
    ready, wake = threading.Event(), JobQueue.wake_ahead

    def wake_and_notify(queue: JobQueue) -> None:
        wake(queue)
        if len(services.storage.job(job.id).pages.list_keys()) == PAGES - 1:
            ready.set()

    monkeypatch.setattr(JobQueue, "wake_ahead", wake_and_notify)
    with ThreadPoolExecutor() as executor:
        download = executor.submit(detection.download, services, job)
        download.add_done_callback(lambda _: ready.set())
        ready.wait(300)
        yield download
        slow_library.release.set()


def list_detected_ahead(services: Services, job: Job) -> set[int]:
    return services.storage.job(job.id).ahead(services.models.find().digest()).list_keys()


def take_messages(queue: JobQueue) -> list[str]:
    """Remove the messages of the gpu queue; return the names of their tasks."""
    messages: Any = queue.services.broker.lrange("gpu", 0, -1)
    queue.services.broker.delete("gpu")
    return [json.loads(message)["headers"]["task"] for message in messages]


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that receives the number of images of each batch."""
    calls: list[int] = []
    detect = Detector.detect
    monkeypatch.setattr(Detector, "detect", lambda self, images: calls.append(len(images)) or detect(self, images))
    return calls


def test_pages_are_detected_before_the_last_one_arrives(
    queue: JobQueue, job: Job, downloading: Future[Any], slow_library: SlowLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = queue.services
    assert take_messages(queue) == [AHEAD]
    before = services.jobs.find(job.id)
    queue.tasks[AHEAD]()
    assert list_detected_ahead(services, job) == {1, 2, 3, 4}
    assert take_messages(queue) == [AHEAD]
    queue.tasks[AHEAD]()
    assert take_messages(queue) == []
    after = services.jobs.find(job.id)
    assert (after.lease, after.done, after.starts, after.coverage) == (before.lease, 4, 0, before.coverage)
    assert services.counters.read(PAGES_BY_STATUS) == {}
    slow_library.release.set()
    downloading.result()
    services.jobs.finish_stage(job, DOWNLOAD, 1.0)
    images = count_calls(monkeypatch)
    queue.tasks["run"]()
    finished = services.jobs.find(job.id)
    assert (finished.state, finished.done, sum(images)) == (State.DELIVERING, PAGES, 1)
    assert sum(services.counters.read(PAGES_BY_STATUS).values()) == PAGES
    assert services.storage.job(job.id).annotations.read_text().count(".jpg") == PAGES


def test_detection_need_not_wait_for_the_usual_interval_of_reports(
    queue: JobQueue, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_fetching, "REPORT_SECONDS", 600.0)
    request.getfixturevalue("downloading")
    assert take_messages(queue) == [AHEAD]


def test_nothing_more_is_detected_after_the_job_is_cancelled(
    queue: JobQueue, job: Job, downloading: Future[Any]
) -> None:
    take_messages(queue)
    queue.services.jobs.cancel(job)
    queue.tasks[AHEAD]()
    assert (list_detected_ahead(queue.services, job), take_messages(queue)) == (set(), [])
    with pytest.raises(LeaseLost):
        downloading.result()


def test_a_waiting_job_comes_before_detection_ahead(
    queue: JobQueue, client: FlaskClient, headers: dict[str, str], job: Job, downloading: Future[Any]
) -> None:
    other = client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/m"}).json["job_id"]
    change_job(queue.services.database, other, state=State.RUNNING)
    take_messages(queue)
    queue.tasks[AHEAD]()
    assert (list_detected_ahead(queue.services, job), take_messages(queue)) == (set(), ["run"])


def test_two_workers_do_not_detect_the_same_pages(queue: JobQueue, job: Job, downloading: Future[Any]) -> None:
    with claim(queue.services.storage.job(job.id)) as is_claimed:
        queue.tasks[AHEAD]()
        assert is_claimed
        assert list_detected_ahead(queue.services, job) == set()
    queue.tasks[AHEAD]()
    assert list_detected_ahead(queue.services, job) == {1, 2, 3, 4}


def test_a_page_that_ends_a_step_is_left_to_the_stage(
    queue: JobQueue, job: Job, downloading: Future[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Detector, "detect", fail)
        with pytest.raises(MemoryError):
            queue.tasks[AHEAD]()
    queue.tasks[AHEAD]()
    assert list_detected_ahead(queue.services, job) == set()


def test_a_missing_model_is_reported_by_the_stage_only(queue: JobQueue, job: Job, downloading: Future[Any]) -> None:
    (queue.services.models.folder / "illustrations.pt").unlink()
    queue.tasks[AHEAD]()
    assert queue.services.jobs.find(job.id).state == State.DOWNLOADING
