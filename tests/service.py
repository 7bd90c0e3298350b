"""A running service, with real processes, as a client app sees it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from app.auth import add_app
from app.config import Settings
from app.database import Database
from app.demo.client_app import ClientApp, serve
from app.demo.service import choose_settings, run_service


class Service:
    """The service, its settings, and the client app that receives its results."""

    def __init__(self, api: str, settings: Settings, receiver: ClientApp) -> None:
        self.api = api
        self.settings = settings
        self.receiver = receiver
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
        end = time.monotonic() + 120
        while time.monotonic() < end:
            job = self.look(job_id)
            if until(job):
                return job
            time.sleep(0.05)
        raise AssertionError(f"This did not come to be: {job}")

    def finish(self, job_id: str) -> dict[str, Any]:
        return self.wait(job_id, lambda job: job["finished"])

    def settle(self, job_id: str) -> list[dict[str, Any]]:
        """Wait until nothing of a job is on its way any more; return its deliveries."""

        def is_settled(job: dict[str, Any]) -> bool:
            return all(delivery["status"] != "pending" for delivery in job["deliveries"])

        deliveries: list[dict[str, Any]] = self.wait(job_id, is_settled)["deliveries"]
        return deliveries

    def processes(self, word: str) -> list[psutil.Process]:
        """Return the processes of the service that have a word on their command line, the parent first."""
        supervisor = psutil.Process(int((self.settings.data_folder / "supervisor.pid").read_text()))
        return [child for child in supervisor.children(recursive=True) if word in " ".join(child.cmdline())]


@contextmanager
def open_service(folder: Path, **settings: Any) -> Iterator[Service]:
    """Run a service with little patience, its data in a folder."""
    receiver = ClientApp()
    impatient = {"batch_size": 1, "heartbeat_seconds": 0.5, "stale_seconds": 3, "fetch_attempts": 2}
    with serve(receiver.create_app()) as client_url:
        chosen = choose_settings(folder, client_app_url=client_url, **(impatient | settings))
        with run_service(chosen) as api:
            yield Service(api, chosen, receiver)
