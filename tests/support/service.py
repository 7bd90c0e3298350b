"""Run the whole service in real processes and use it as a client app does."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests
from celery import Celery
from kombu.exceptions import OperationalError

from app.auth import add_app
from app.config import Settings
from app.database.sessions import Database
from app.database.tables import Delivery, Job
from app.demo.client_app import Received, RecordingClientApp, serve
from app.demo.service import choose_settings, run_service
from app.storage import Storage, write_atomic

# The longest wait for any condition; generous, because the machine may be busy. pytest ends a test after 300 seconds.
TIMEOUT_SECONDS = 200
SWEEP_SECONDS = 1.0
# Number of pages of a Document. Detecting all of them takes under a second: block a page to gain time.
PAGES = 6


@dataclass(frozen=True)
class Document:
    """A manifest whose images are already in the cache.

    Attributes:
        url: Address of the manifest.
        job_id: ID of the job that fetched the images.
    """

    url: str
    job_id: str


class Service:
    """A running service, its settings, and the client app that receives its results."""

    def __init__(self, api: str, settings: Settings, receiver: RecordingClientApp) -> None:
        self.api = api
        self.settings = settings
        self.receiver = receiver
        self.storage = Storage(settings.data_folder)
        self.headers = {"X-API-Key": add_app(Database(settings.sqlalchemy_url), "front")}
        options = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
        self._celery = Celery(broker=settings.broker_url, broker_transport_options=options, set_as_current=False)

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """Send a POST request with the API key; return the JSON body of the answer, which must be 200."""
        answer = requests.post(f"{self.api}{path}", headers=self.headers, timeout=10, **fields)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def get_job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = requests.get(f"{self.api}/jobs/{job_id}", headers=self.headers, timeout=10).json()
        return job

    def poll(self, read: Callable[[], Any], until: Callable[[Any], Any]) -> Any:
        """Call ``read`` until its result satisfies ``until``; return that result. Trigger a sweep every second.

        A long wait has longer pauses, because the calls take processor time from the service.
        """
        start = time.monotonic()
        end, next_sweep = start + TIMEOUT_SECONDS, start + SWEEP_SECONDS
        while not until(found := read()):
            now = time.monotonic()
            assert now < end, f"The condition was not met within {TIMEOUT_SECONDS} seconds; last value: {found}"
            if now >= next_sweep:
                self.sweep()
                next_sweep = now + SWEEP_SECONDS
            time.sleep(min(0.1, 0.02 + (now - start) / 20))
        return found

    def sweep(self) -> None:
        """Queue the sweep task now; the schedule does it every ten seconds."""
        with suppress(OperationalError):  # a test may have stopped the broker
            self._celery.send_task("sweep", queue="post", retry=False)

    def wait_for_job(self, job_id: str, until: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Request a job until it satisfies ``until``; return it."""
        job: dict[str, Any] = self.poll(lambda: self.get_job(job_id), until)
        return job

    def wait_until_finished(self, job_id: str) -> dict[str, Any]:
        """Wait until a job is in a final state; return it."""
        return self.wait_for_job(job_id, lambda job: job["finished"])

    def wait_for_messages(self, count: int = 1) -> list[Received]:
        """Wait until the client app has received ``count`` messages; return all that it has received."""
        received: list[Received] = self.poll(lambda: list(self.receiver.received), lambda found: len(found) >= count)
        return received

    def wait_for_row(self, job_id: str, until: Callable[[Job], Any]) -> Job:
        """Query a job's row in the database until it satisfies ``until``; return it."""
        database = Database(self.settings.sqlalchemy_url)

        def read() -> Job | None:
            with database.session() as session:
                return session.get(Job, job_id)

        job: Job = self.poll(read, lambda job: job and until(job))
        database.close()
        return job

    def read_run_order(self, jobs: Collection[str]) -> list[str]:
        """Return the given jobs in the order in which the detector started them, according to its log.

        A job that was started several times is listed several times.
        """
        log = (self.settings.data_folder / "logs" / "gpu.log").read_text()
        return [job_id for job_id in re.findall(r"job ([0-9a-f]{32}): run begins", log) if job_id in jobs]

    def as_new_client_app(self, name: str) -> "Service":
        """Register another client app; return this service with the API key of that app."""
        other = copy.copy(self)
        other.headers = {"X-API-Key": add_app(Database(self.settings.sqlalchemy_url), name)}
        return other

    @property
    def supervisor(self) -> psutil.Process:
        return psutil.Process(int((self.settings.data_folder / "supervisor.pid").read_text()))

    def wait_for_deliveries(self, job_id: str) -> list[dict[str, Any]]:
        """Wait until none of a job's deliveries is pending; return the deliveries."""

        def has_none_pending(job: dict[str, Any]) -> bool:
            return all(delivery["status"] != "pending" for delivery in job["deliveries"])

        deliveries: list[dict[str, Any]] = self.wait_for_job(job_id, has_none_pending)["deliveries"]
        return deliveries

    def drain_outbox(self) -> None:
        """Wait until no delivery of any job is due or in progress."""
        database = Database(self.settings.sqlalchemy_url)

        def count() -> int:
            now = time.time()
            unsent = (Delivery.next_attempt <= now) | (Delivery.leased_until > now)
            with database.session() as session:
                return session.query(Delivery).where(Delivery.status == "pending", unsent).count()

        self.poll(count, lambda found: found == 0)
        database.close()

    def find_processes(self, word: str) -> list[psutil.Process]:
        """Return the processes of the service whose command line contains a word, each parent before its children."""
        return [child for child in self.supervisor.children(recursive=True) if word in " ".join(child.cmdline())]

    def detect(self, url: str, **fields: str) -> str:
        """Request a detection; return the ID of the job."""
        job_id: str = self.post("/run_detect", data={"manifest_url": url} | fields)["job_id"]
        return job_id

    @contextmanager
    def block_page(self, document: Document, number: int = 1) -> Iterator[Path]:
        """Block every process that opens the cached image of a page, until :func:`unblock_page` is called.

        A named pipe takes the place of the image: opening it blocks until another process writes to it. The blocked
        process then reads a few bytes that are not an image. The image is put back when the context ends.

        Yields:
            The path of the named pipe, for :func:`unblock_page`.
        """
        record = self.storage.job(document.job_id).pages.load()[number]
        image = self.storage.images(document.url) / record["file"]
        kept = {path: path.read_bytes() for path in (image, image.with_suffix(".json"))}
        image.unlink()
        os.mkfifo(image)
        try:
            yield image
        finally:
            with suppress(OSError):  # a process is still blocked only if the test failed
                os.close(os.open(image, os.O_WRONLY | os.O_NONBLOCK))
            for path, content in kept.items():
                write_atomic(path, content)

    def kill_detector_when(self, document: Document, condition: Callable[[str], bool]) -> str:
        """Start a detection and kill the detector process when the job satisfies a condition.

        The job may leave the state `running` before the process is suspended; then this tries again with a new job.

        Returns:
            ID of the job that was running when its process was killed.
        """
        for _ in range(50):
            job_id = self.detect(document.url)
            self.wait_for_row(job_id, lambda job: job.starts == 1)
            *_, child = self.find_processes("gpu@")
            end = time.monotonic() + TIMEOUT_SECONDS
            while not condition(job_id):
                assert time.monotonic() < end, f"The condition was not met within {TIMEOUT_SECONDS} seconds."
            child.suspend()
            if self.get_job(job_id)["state"] == "running":
                kill([child])
                return job_id
            child.resume()
            self.wait_until_finished(job_id)
        raise AssertionError("Every job ended before its process could be suspended.")

    def count_detections(self, job_id: str) -> Counter[int]:
        """Return how often each page of a job was detected, by the number of the page."""
        path = self.storage.job(job_id).path / "detections.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return Counter(json.loads(line)[0] for line in lines)

    @contextmanager
    def stop_program(self, name: str) -> Iterator[None]:
        """Stop a program of the configuration of supervisor; start it again when the context ends."""
        address = f"unix://{self.settings.data_folder}/supervisor.sock"
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-s", address]
        subprocess.run([*command, "stop", name], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run([*command, "start", name], check=True, capture_output=True)


def unblock_page(page: Path) -> None:
    """Release the process that is blocked on a page; if there is none yet, wait for it.

    Args:
        page: Path from :meth:`Service.block_page`.
    """
    page.write_bytes(b"not the image")


def kill(processes: Collection[psutil.Process]) -> None:
    """Send SIGKILL to processes and wait until they have ended."""
    for process in processes:
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


@contextmanager
def open_service(folder: Path, wrapper: Sequence[str] = (), **settings: Any) -> Iterator[Service]:
    """Run a service whose timeouts are short.

    Args:
        folder: Data folder of the service.
        wrapper: Command and arguments that run the service, such as ``("nice",)``.
        **settings: Settings that replace the short defaults below.
    """
    receiver = RecordingClientApp()
    defaults: dict[str, Any] = {
        "batch_size": 1,
        "heartbeat_seconds": 0.5,
        "fetch_attempts": 2,
        "rate_limit": "off",
        "precision": "float32",  # the trial of another format takes seconds at each start
    }
    with serve(receiver.create_app()) as client_url:
        chosen = choose_settings(folder, client_app_url=client_url, **(defaults | settings))
        with run_service(chosen, wrapper=wrapper) as api:
            service = Service(api, chosen, receiver)
            yield service
            # Faster than stopping the programs one after another.
            with suppress(psutil.NoSuchProcess, FileNotFoundError):
                kill([service.supervisor, *service.supervisor.children(recursive=True)])
