"""A running service, with real processes, as a client app sees it."""

import copy
import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from app.auth import add_app
from app.config import Settings
from app.database.sessions import Database
from app.database.tables import Job
from app.demo.client_app import ClientApp, serve
from app.demo.service import choose_settings, run_service
from app.storage import Storage

# Seconds in which something comes to be on a machine that does other things too.
PATIENCE = 300


class Service:
    """The service, its settings, and the client app that receives its results."""

    def __init__(self, api: str, settings: Settings, receiver: ClientApp) -> None:
        self.api = api
        self.settings = settings
        self.receiver = receiver
        self.storage = Storage(settings.data_folder)
        self.headers = {"X-API-Key": add_app(Database(settings.sqlalchemy_url), "front")}

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = requests.post(f"{self.api}{path}", headers=self.headers, timeout=10, **fields)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def look(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = requests.get(f"{self.api}/jobs/{job_id}", headers=self.headers, timeout=10).json()
        return job

    def wait(self, job_id: str, until: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Ask for a job until something is true of it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            job = self.look(job_id)
            if until(job):
                return job
            time.sleep(0.05)
        raise AssertionError(f"This did not come to be: {job}")

    def finish(self, job_id: str) -> dict[str, Any]:
        return self.wait(job_id, lambda job: job["finished"])

    def wait_for_row(self, job_id: str, until: Callable[[Job], Any]) -> Job:
        """Look into the database until something is true of a job's row."""
        database = Database(self.settings.sqlalchemy_url)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with database.session() as session:
                job = session.get(Job, job_id)
            if job and until(job):
                database.close()
                return job
            time.sleep(0.02)
        raise AssertionError(f"This did not come to be: {job and vars(job)}")

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

    def settle(self, job_id: str) -> list[dict[str, Any]]:
        """Wait until nothing of a job is on its way any more; return its deliveries."""

        def is_settled(job: dict[str, Any]) -> bool:
            return all(delivery["status"] != "pending" for delivery in job["deliveries"])

        deliveries: list[dict[str, Any]] = self.wait(job_id, is_settled)["deliveries"]
        return deliveries

    def processes(self, word: str) -> list[psutil.Process]:
        """Return the processes of the service that have a word on their command line, the parent first."""
        return [child for child in self.supervisor.children(recursive=True) if word in " ".join(child.cmdline())]

    def control(self, action: str, program: str) -> None:
        """Stop or start one of the service's programs."""
        address = f"unix://{self.settings.data_folder}/supervisor.sock"
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-s", address, action, program]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def open_service(folder: Path, wrapper: Sequence[str] = (), **settings: Any) -> Iterator[Service]:
    """Run a service with little patience, its data in a folder."""
    receiver = ClientApp()
    impatient: dict[str, Any] = {
        "batch_size": 1,
        "heartbeat_seconds": 0.5,
        "stale_seconds": 3,
        "fetch_attempts": 2,
        "rate_limit": "off",
    }
    with serve(receiver.create_app()) as client_url:
        chosen = choose_settings(folder, client_app_url=client_url, **(impatient | settings))
        with run_service(chosen, wrapper=wrapper) as api:
            yield Service(api, chosen, receiver)
