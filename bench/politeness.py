"""Count the requests that a service with two download workers sends to a library, and compare them with the limit.

The service fetches several manifests of one library at the same time; the library records the time of each request.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask
from PIL import Image

from app.config import ROOT, Settings
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.demo.service import build_environment
from app.iiif.hosts import HostRule
from bench.tables import describe_machine, print_table
from tests.support.service import open_service

MANIFESTS = 4
WORKERS = ("io", "io2")
# Networks let a host name reach loopback without the privileges of a trusted host.
LOOPBACK = ("127.0.0.0/8", "::1")


class RequestLog:
    """Records the requests of a Flask app.

    Attributes:
        times: Monotonic time of each request, in seconds.
        most_at_once: Highest number of requests that were open at the same time.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def attach(self, app: Flask) -> None:
        """Record every request of an app from now on."""
        app.before_request(self._begin)
        app.teardown_request(self._end)

    def _begin(self) -> None:
        with self._lock:
            self.times.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def _end(self, _: BaseException | None) -> None:
        with self._lock:
            self._at_once -= 1

    def count_busiest(self, seconds: float) -> int:
        """Return the highest number of requests within a window of this many seconds."""
        times = sorted(self.times)
        return max(sum(start <= each < start + seconds for each in times[i:]) for i, start in enumerate(times))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pages", type=int, default=200, help=f"pages in {MANIFESTS} manifests together (default: %(default)s)"
    )
    parser.add_argument("--rate", type=float, default=5.0, help="allowed requests per second (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    log = RequestLog()
    with tempfile.TemporaryDirectory() as pages, tempfile.TemporaryDirectory() as data:
        draw_pages(Path(pages), arguments.pages // MANIFESTS)
        with (
            serve(create_library(Path(pages), log)) as library,
            open_service(Path(data), host_interval_seconds=1 / arguments.rate, trusted_hosts=LOOPBACK) as service,
            open_second_worker(service.settings),
        ):
            library = library.replace("127.0.0.1", "localhost")
            manifests = [f"{library}/{number}/manifest.json" for number in range(MANIFESTS)]
            jobs = [service.post("/run_detect", data={"manifest_url": url})["job_id"] for url in manifests]
            states = Counter(service.wait_until_finished(job)["state"] for job in jobs)
        shares = {name: count_downloads(service.settings.data_folder, name) for name in WORKERS}
    print(f"{arguments.pages} pages of {MANIFESTS} manifests ({dict(states)}); jobs by worker: {shares}")
    print(f"{describe_machine()}\n")
    print_table(["", "allowed", "counted"], build_rows(log, arguments.rate, HostRule().connections))


def draw_pages(folder: Path, count: int) -> None:
    for number in range(count):
        Image.new("RGB", (600, 800), "white").save(folder / f"{number:04d}.jpg")


def create_library(folder: Path, log: RequestLog) -> Flask:
    """Return a library that serves one document under several manifest addresses."""
    app = create_iiif_server(folder)
    log.attach(app)
    for number in range(MANIFESTS):
        app.add_url_rule(f"/{number}/manifest.json", f"manifest_{number}", app.view_functions["manifest"])
    return app


@contextmanager
def open_second_worker(settings: Settings) -> Iterator[None]:
    """Run a second download worker; the context starts when the worker is ready."""
    celery = [str(Path(sys.executable).parent / "celery"), "-A", "app.app.celery", "worker"]
    command = [*celery, "-n", "io2@%h", "-Q", "io", "-P", "threads", "-c", "8", "--loglevel=info"]
    log = settings.data_folder / "logs" / "io2.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=output, stderr=output) as process,
    ):
        try:
            while " ready." not in log.read_text():
                if process.poll() is not None:
                    sys.exit(f"The second worker exited early. Its log ends with:\n{log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def count_downloads(data: Path, worker: str) -> int:
    """Return the number of jobs that a worker has downloaded, according to its log."""
    return (data / "logs" / f"{worker}.log").read_text().count("download is done")


def build_rows(log: RequestLog, rate: float, connections: int) -> list[tuple[str, str, str]]:
    """Return the rows of the table: what was counted, the allowed value, the counted value."""
    count, span = len(log.times), max(log.times) - min(log.times)
    windows = [(f"most requests within {s} s", f"{rate * s:g}", str(log.count_busiest(s))) for s in (1, 10)]
    return [
        ("requests", "–", str(count)),
        *windows,
        ("most at the same time", str(connections), str(log.most_at_once)),
        ("requests a second, on the whole", f"{rate:g}", f"{count / span:.2f}"),
        ("seconds from the first to the last", f"{(count - 1) / rate:.0f} (floor)", f"{span:.0f}"),
    ]
