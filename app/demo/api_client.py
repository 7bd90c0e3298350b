"""A client of the API: sends requests, and prints each change of a job until the job is finished."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class ApiClient:
    """The API, as one client app uses it.

    Attributes:
        url: Address of the API.
        headers: Headers of every request, with the key.
        logs: Folder of the logs, as error messages name it.
    """

    url: str
    headers: dict[str, str]
    logs: str

    def run_job(self, path: str, **body: Any) -> dict[str, Any]:
        """Start a job with a POST request and wait until it is done; return the finished job.

        Exits with a message when the API rejects the request, or the job fails.

        Args:
            path: Route that starts the job.
            body: Body of the request, as ``json`` or as the form ``data``.
        """
        answer = requests.post(f"{self.url}{path}", headers=self.headers, timeout=10, **body)
        print(f"  {answer.status_code} {answer.text.strip()}")
        if answer.status_code != 200:
            sys.exit(f"The API rejected the request: see {self.logs}.")
        job = self._follow(answer.json()["status_url"])
        if job["state"] != "done":
            sys.exit(f"The job is {job['state']}: {job['error']}")
        return job

    def get_json(self, path: str) -> dict[str, Any]:
        """Return the JSON answer to a GET request."""
        return dict(self.get(path).json())

    def get(self, path: str, query: Mapping[str, str] | None = None) -> requests.Response:
        """Return the answer to a GET request."""
        answer = requests.get(f"{self.url}{path}", query, headers=self.headers, timeout=10)
        answer.raise_for_status()
        return answer

    def _follow(self, status_url: str) -> dict[str, Any]:
        shown, end = "", time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            job: dict[str, Any] = requests.get(status_url, headers=self.headers, timeout=10).json()
            progress = job["progress"]
            line = f"  {job['state']:<12} {progress['done']}/{progress['total']}"
            if line != shown:
                print(line, flush=True)
                shown = line
            if job["finished"]:
                return job
            time.sleep(0.2)
        sys.exit(f"The job did not finish within {PATIENCE_SECONDS:.0f} seconds: see {self.logs}.")
