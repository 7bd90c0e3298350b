"""A running service, with real processes, as a client app sees it."""

import copy
import os
import re
import signal
import subprocess
import sys
import time
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

# Seconds in which something comes to be on a machine that does other things too.
PATIENCE = 300
SWEEP_SECONDS = 1.0
# Of a Document: so few are detected within a second, and what must happen meanwhile holds one of them.
PAGES = 6


@dataclass(frozen=True)
class Document:
    """A manifest whose images are cached: a job has fetched them."""

    url: str
    job_id: str


class Service:
    """The service, its settings, and the client app that receives its results."""

    def __init__(self, api: str, settings: Settings, receiver: RecordingClientApp) -> None:
        self.api = api
        self.settings = settings
        self.receiver = receiver
        self.storage = Storage(settings.data_folder)
        self.headers = {"X-API-Key": add_app(Database(settings.sqlalchemy_url), "front")}
        options = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
        self._celery = Celery(broker=settings.broker_url, broker_transport_options=options, set_as_current=False)

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = requests.post(f"{self.api}{path}", headers=self.headers, timeout=10, **fields)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def look(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = requests.get(f"{self.api}/jobs/{job_id}", headers=self.headers, timeout=10).json()
        return job

    def poll(self, read: Callable[[], Any], until: Callable[[Any], Any]) -> Any:
        """Read until something is true of what was read; sweep every second meanwhile."""
        end = time.monotonic() + PATIENCE
        next_sweep = time.monotonic() + SWEEP_SECONDS
        while not until(found := read()):
            now = time.monotonic()
            assert now < end, f"This did not come to be: {found}"
            if now >= next_sweep:
                self.sweep()
                next_sweep = now + SWEEP_SECONDS
            time.sleep(0.03)
        return found

    def sweep(self) -> None:
        """Do at once what the schedule does every ten seconds."""
        with suppress(OperationalError):  # a test may have stopped the broker
            self._celery.send_task("sweep", queue="post", retry=False)

    def wait(self, job_id: str, until: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Ask for a job until something is true of it."""
        job: dict[str, Any] = self.poll(lambda: self.look(job_id), until)
        return job

    def finish(self, job_id: str) -> dict[str, Any]:
        return self.wait(job_id, lambda job: job["finished"])

    def receive(self, count: int = 1) -> list[Received]:
        """Return what the client app has received, once there are ``count`` messages."""
        received: list[Received] = self.poll(lambda: list(self.receiver.received), lambda found: len(found) >= count)
        return received

    def wait_for_row(self, job_id: str, until: Callable[[Job], Any]) -> Job:
        """Look into the database until something is true of a job's row."""
        database = Database(self.settings.sqlalchemy_url)

        def read() -> Job | None:
            with database.session() as session:
                return session.get(Job, job_id)

        job: Job = self.poll(read, lambda job: job and until(job))
        database.close()
        return job

    def read_order(self, jobs: Collection[str]) -> list[str]:
        """Return some jobs in the order in which the detector began them, as its log says."""
        log = (self.settings.data_folder / "logs" / "gpu.log").read_text()
        return [job_id for job_id in re.findall(r"job ([0-9a-f]{32}): run begins", log) if job_id in jobs]

    def join(self, name: str) -> "Service":
        """Return the same service as another client app sees it."""
        other = copy.copy(self)
        other.headers = {"X-API-Key": add_app(Database(self.settings.sqlalchemy_url), name)}
        return other

    @property
    def supervisor(self) -> psutil.Process:
        return psutil.Process(int((self.settings.data_folder / "supervisor.pid").read_text()))

    def wait_for_deliveries(self, job_id: str) -> list[dict[str, Any]]:
        """Wait until nothing of a job is on its way any more; return its deliveries."""

        def are_finished(job: dict[str, Any]) -> bool:
            return all(delivery["status"] != "pending" for delivery in job["deliveries"])

        deliveries: list[dict[str, Any]] = self.wait(job_id, are_finished)["deliveries"]
        return deliveries

    def drain_outbox(self) -> None:
        """Wait until no delivery is due or in progress."""
        database = Database(self.settings.sqlalchemy_url)

        def count() -> int:
            now = time.time()
            unsent = (Delivery.next_attempt <= now) | (Delivery.leased_until > now)
            with database.session() as session:
                return session.query(Delivery).where(Delivery.status == "pending", unsent).count()

        self.poll(count, lambda found: found == 0)
        database.close()

    def processes(self, word: str) -> list[psutil.Process]:
        """Return the processes of the service that have a word on their command line, the parent first."""
        return [child for child in self.supervisor.children(recursive=True) if word in " ".join(child.cmdline())]

    def detect(self, url: str, **fields: str) -> str:
        """Ask for a detection; return the id of the job."""
        job_id: str = self.post("/run_detect", data={"manifest_url": url} | fields)["job_id"]
        return job_id

    @contextmanager
    def hold_page(self, document: Document, number: int = 1) -> Iterator[Path]:
        """Let whoever opens the cached image of a page wait until :func:`let_go`; it then reads what is no image."""
        (record,) = [page for page in self.storage.job(document.job_id).load("pages") if page["number"] == number]
        image = self.storage.images(document.url) / record["file"]
        kept = {path: path.read_bytes() for path in (image, image.with_suffix(".json"))}
        image.unlink()
        os.mkfifo(image)
        try:
            yield image
        finally:
            with suppress(OSError):  # nobody waits, unless the test has failed
                os.close(os.open(image, os.O_WRONLY | os.O_NONBLOCK))
            for path, content in kept.items():
                write_atomic(path, content)

    def kill_at(self, document: Document, moment: Callable[[str], bool]) -> str:
        """Kill the detector when something is true of its job, which is still at that stage; return the id of the job.

        The moment may be over before the process stands still: then another job is begun.
        """
        for _ in range(50):
            job_id = self.detect(document.url)
            self.wait_for_row(job_id, lambda job: job.starts == 1)
            *_, child = self.processes("gpu@")
            end = time.monotonic() + PATIENCE
            while not moment(job_id):
                assert time.monotonic() < end, "The moment did not come."
            child.suspend()
            if self.look(job_id)["state"] == "running":
                kill([child])
                return job_id
            child.resume()
            self.finish(job_id)
        raise AssertionError("The moment was over each time.")

    def read_inodes(self, job_id: str) -> dict[str, int]:
        """Return the files of the pages that a job has detected: one that is written again is another."""
        return {path.name: path.stat().st_ino for path in (self.storage.job(job_id).path / "detections").glob("*.json")}

    def control(self, action: str, program: str) -> None:
        """Stop or start one of the service's programs."""
        address = f"unix://{self.settings.data_folder}/supervisor.sock"
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-s", address, action, program]
        subprocess.run(command, check=True, capture_output=True)


def let_go(page: Path) -> None:
    """Let the process go on that waits for a page, and wait for it if need be."""
    page.write_bytes(b"not the image")


def kill(processes: Collection[psutil.Process]) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


@contextmanager
def open_service(folder: Path, wrapper: Sequence[str] = (), **settings: Any) -> Iterator[Service]:
    """Run a service with little patience, its data in a folder."""
    receiver = RecordingClientApp()
    impatient: dict[str, Any] = {
        "batch_size": 1,
        "heartbeat_seconds": 0.5,
        "fetch_attempts": 2,
        "rate_limit": "off",
    }
    with serve(receiver.create_app()) as client_url:
        chosen = choose_settings(folder, client_app_url=client_url, **(impatient | settings))
        with run_service(chosen, wrapper=wrapper) as api:
            service = Service(api, chosen, receiver)
            yield service
            # Sooner than to let all of them stop one after the other.
            with suppress(psutil.NoSuchProcess, FileNotFoundError):
                kill([service.supervisor, *service.supervisor.children(recursive=True)])
