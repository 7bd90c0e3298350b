"""Python client of extractorAPI: one file that needs only the package requests. Copy it into your project.

    api = Client("http://127.0.0.1:5000", key)
    job_id = api.detect("https://library.example/iiif/ms-3/manifest.json")
    api.wait(job_id, report=lambda job: print(job["progress"]))
    for canvas in api.fetch_annotations(job_id)["canvases"]:
        print(canvas["image_name"], [detection["xywh"] for detection in canvas["detections"]])

Errors:

    ClientError
    ├── ApiError         the service answered with an error; it has the attributes status, code and message
    │   ├── WrongKey     the API key is missing or unknown
    │   ├── NotFound     you have no such job or data set, or there are no such weights
    │   └── Busy         the service was still busy after the last attempt
    ├── Unreachable      the service did not answer
    └── JobFailed        the job failed or was cancelled; it has the attribute job

The operator of the service gives you the key. The page client.md of the manual has more examples.
"""

import base64
import hmac
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast
from urllib.parse import quote

import requests

TOLERANCE_SECONDS = 300
FINISHED = ("done", "failed", "cancelled")
PAGE = 1000


class Progress(TypedDict):
    """Steps of the present stage: canvases, images, pairs, epochs or pages."""

    stage: str
    done: int
    total: int


class Job(TypedDict, total=False):
    """A job. Its other fields depend on its kind: see the manual of the API."""

    job_id: str
    kind: str
    state: str
    progress: Progress
    model: str
    coverage: dict[str, Any]
    timings: dict[str, float]
    error: dict[str, str] | None
    jobs: list[dict[str, Any]]


class ClientError(Exception): ...


class ApiError(ClientError):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class WrongKey(ApiError): ...


class NotFound(ApiError): ...


class Busy(ApiError): ...


class Unreachable(ClientError): ...


class JobFailed(ClientError):
    def __init__(self, job: Job) -> None:
        super().__init__((job.get("error") or {}).get("message") or f"The job {job['job_id']} is {job['state']}.")
        self.job = job


class Client:
    """Sends requests with the key of a client app. Threads may share one.

    A URL is a str; a file on this machine is a Path. The further fields of a request are those of the API.

    Args:
        url: URL of the service.
        key: API key.
        timeout: Seconds without an answer after which a request fails.
        attempts: Attempts while the service is busy (429, 503). Each waits as long as the service asks.
        patience: Longest wait for the next attempt, in seconds.
    """

    def __init__(self, url: str, key: str, timeout: float = 60, attempts: int = 5, patience: float = 120) -> None:
        self._url, self._headers = url.rstrip("/"), {"X-API-Key": key.strip()}
        self._timeout, self._attempts, self._patience = timeout, attempts, patience

    def detect(self, source: str | Path, **fields: Any) -> str:
        """Detect the illustrations of a manifest, zip file, PDF or list of image URLs; return the ID of the job."""
        if isinstance(source, Path):
            return self._start("/run_detect", data=fields, files={"file": source})
        return self._start("/run_detect", data={"manifest_url": source} | fields)

    def detect_all(self, urls: Iterable[str], **fields: Any) -> dict[str, Any]:
        """Detect the illustrations of many manifests; return their ``jobs``, and the ``refused`` lines."""
        file = ("urls.txt", "\n".join(urls).encode())
        return self._ask("POST", "/detect_all", data=fields, files={"url_file": file})

    def compare(self, documents: Mapping[str, Any], **fields: Any) -> str:
        """Compare documents, by your IDs: each is the URL of an image list, or ``{"job_id": …}``; return the job ID."""
        return self._start("/run_similarity", json={"documents": dict(documents)} | fields)

    def search(self, image: str | Path | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Search your documents for an image, or for a detection (``job_id``, …); wait, and return the matches."""
        if isinstance(image, Path):  # a form: the documents are JSON text, other lists are words
            fields |= {"documents": json.dumps(fields["documents"])} if "documents" in fields else {}
            fields |= {name: " ".join(value) for name, value in fields.items() if isinstance(value, list | tuple)}
            answer = self._ask("POST", "/search", data=fields, files={"image": image})
        else:
            answer = self._ask("POST", "/search", json=fields | ({"image_url": image} if image else {}))
        if "matches" not in answer:
            self.wait(answer["job_id"])
            answer = self._ask("GET", f"/jobs/{answer['job_id']}/matches")
        return list(answer["matches"])

    def upload_dataset(self, dataset: Path, yaml_file: Path, **fields: Any) -> dict[str, Any]:
        """Upload a zip file of pages and labels, which replaces your data set of this name. It must fit in memory."""
        files = {"dataset_zip": dataset, "yaml_file": yaml_file}
        return dict(self._ask("POST", "/send-dataset", data=fields, files=files, timeout=3600)["dataset"])

    def train(self, data: str, epochs: int, **fields: Any) -> str:
        """Train weights on a data set of yours; return the ID of the job."""
        return self._start("/train-model", data={"data": data, "epochs": epochs} | fields)

    def evaluate(self, dataset: str, **fields: Any) -> str:
        """Evaluate weights on a data set of yours; return the ID of the job."""
        return self._start("/test-model", data={"dataset": dataset} | fields)

    def wait(
        self, job_id: str, report: Callable[[Job], object] = lambda job: None, timeout: float = float("inf")
    ) -> Job:
        """Wait until a job is done, and return it.

        Args:
            job_id: ID of the job.
            report: Called with the job after each request for it.
            timeout: Longest wait in seconds.

        Raises:
            JobFailed: The job failed or was cancelled.
            TimeoutError: The job did not finish in time. It continues on the server.
        """
        pause, end = 0.5, time.monotonic() + timeout
        while True:
            job = self.fetch_job(job_id)
            report(job)
            if job["state"] in FINISHED:
                break
            if time.monotonic() + pause > end:
                raise TimeoutError(f"The job {job_id} is still {job['state']} after {timeout:g} seconds.")
            time.sleep(pause)
            pause = min(1.5 * pause, 30)
        if job["state"] != "done":
            raise JobFailed(job)
        return job

    def fetch_job(self, job_id: str) -> Job:
        return cast(Job, self._ask("GET", f"/jobs/{_quote(job_id)}"))

    def list_jobs(self, **query: Any) -> list[Job]:
        """Return your newest jobs; ``state`` and ``limit`` select some."""
        return list(self._ask("GET", "/jobs", params=query)["jobs"])

    def cancel(self, job_id: str) -> None:
        self._ask("POST", f"/jobs/{_quote(job_id)}/cancel")

    def retry(self, job_id: str) -> None:
        """Run a finished job again, for the part that failed."""
        self._ask("POST", f"/jobs/{_quote(job_id)}/retry")

    def fetch_annotations(self, job_id: str) -> dict[str, Any]:
        """Return the ``canvases`` of a detection job, each with its ``detections``."""
        return self._ask("GET", f"/jobs/{_quote(job_id)}/annotations", params={"format": "json"})

    def fetch_file(self, job_id: str, name: str, **query: Any) -> bytes:
        """Return a result of a job as a file.

        Args:
            job_id: ID of the job.
            name: ``annotations``, ``scores/<a>-<b>``, ``groups``, or ``files/<name>`` for a file of :meth:`list_files`.
            query: Parameters of the route, such as ``format="coco"``.
        """
        return self._send("GET", f"/jobs/{_quote(job_id)}/{quote(name)}", params=query).content

    def list_files(self, job_id: str) -> list[str]:
        """Return the names of the files of a training or an evaluation."""
        return [file["name"] for file in self._ask("GET", f"/jobs/{_quote(job_id)}/files")["files"]]

    def list_scores(self, job_id: str, a: str, b: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the scored pairs of images of two documents, the best first; ``sort``, ``verdict`` … select some."""
        path = f"/jobs/{_quote(job_id)}/scores/{_quote(f'{a}-{b}')}"
        yield from self._list_pages(path, "pairs", query | {"format": "json"})

    def list_groups(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Yield the groups of images of a similarity job that show the same block, the largest first."""
        yield from self._list_pages(f"/jobs/{_quote(job_id)}/groups", "groups", {})

    def list_models(self) -> dict[str, str]:
        """Return the detection weights: the time of the last change by file name."""
        return self._ask("GET", "/models")

    def list_datasets(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", "/datasets")["datasets"])

    def _list_pages(self, path: str, name: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for offset in itertools.count(0, PAGE):
            answer = self._ask("GET", path, params=query | {"limit": PAGE, "offset": offset})
            yield from answer[name]
            if not answer["next"]:
                break

    def _start(self, path: str, **options: Any) -> str:
        return str(self._ask("POST", path, **options)["job_id"])

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._send(method, path, **options)
        try:
            return dict(answer.json().items())
        except (ValueError, AttributeError):
            raise _build_error(answer) from None

    def _send(self, method: str, path: str, timeout: float = 0, **options: Any) -> requests.Response:
        options |= {"files": {name: _read(file) for name, file in options.get("files", {}).items()}}
        # A redirect to another server would disclose the key.
        options |= {"headers": self._headers, "timeout": timeout or self._timeout, "allow_redirects": False}
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = requests.request(method, self._url + path, **options)  # noqa: S113
                if answer.status_code == 200:
                    return answer
                error: ClientError = _build_error(answer)
                seconds = answer.headers.get("Retry-After", "")
                may_repeat, pause = answer.status_code in (429, 503), float(seconds if seconds.isdecimal() else 30)
            except requests.RequestException as lost:
                error = Unreachable(f"{self._url} did not answer: {lost}")
                # Another request may have arrived: sending it again could start a second job.
                may_repeat, pause = method == "GET", 5.0
            if not may_repeat or attempt >= self._attempts:
                raise error
            time.sleep(min(pause, self._patience))


def _read(file: Any) -> Any:
    return (file.name, file.read_bytes()) if isinstance(file, Path) else file


def _quote(part: str) -> str:
    return quote(part, safe="")


def _build_error(answer: requests.Response) -> ApiError:
    status = answer.status_code
    try:
        code, message = (str(answer.json()[name]) for name in ("code", "message"))
    except (ValueError, TypeError, KeyError):
        code, message = "not_json", f"{answer.url} answered {status} without JSON: check the URL of the service."
    kinds: dict[int, type[ApiError]] = {403: WrongKey, 404: NotFound, 429: Busy, 503: Busy}
    kind = WrongKey if code == "missing_key" else kinds.get(status, ApiError)
    return kind(status, code, message)


def is_genuine(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """Return whether a message was signed with the secret, at most five minutes ago."""
    sent = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = sent["webhook-id"], sent["webhook-timestamp"]
        signatures = sent["webhook-signature"].split(" ")
        age = time.time() - int(timestamp)
    except (KeyError, ValueError):
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    matches = any(hmac.compare_digest(expected, each.encode()) for each in signatures)
    return matches and abs(age) <= TOLERANCE_SECONDS
