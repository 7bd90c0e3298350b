"""How many requests a library gets: a whole service with two download workers, and a limit that they share.

    python bench/politeness.py [--pages 200] [--rate 5]

Four manifests of one library are sent at once. Printed beside each other: what the limit allows, what the library
counted, and the floor, the time that so many requests take at that rate.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from flask import Flask
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.auth import add_app
from app.config import ROOT, Settings
from app.database.sessions import Database
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.demo.service import build_environment, choose_settings, run_service

MANIFESTS = 4


class Counter:
    """Notes when each request comes, and how many are answered at the same time."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def watch(self, app: Flask) -> Flask:
        @app.before_request
        def come() -> None:
            with self._lock:
                self.times.append(time.monotonic())
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)

        @app.teardown_request
        def go(_: Any) -> None:
            with self._lock:
                self._at_once -= 1

        return app

    def count_busiest(self, seconds: float = 1.0) -> int:
        """Return the most requests that came within so many seconds."""
        times = sorted(self.times)
        return max(sum(start <= each < start + seconds for each in times[i:]) for i, start in enumerate(times))


def create_library(folder: Path, counter: Counter) -> Flask:
    """Return a library whose one document goes by several addresses."""
    app = counter.watch(create_iiif_server(folder))
    for number in range(MANIFESTS):
        app.add_url_rule(f"/{number}/manifest.json", f"manifest_{number}", app.view_functions["manifest"])
    return app


def draw_pages(folder: Path, count: int) -> None:
    for number in range(count):
        Image.new("RGB", (600, 800), "white").save(folder / f"{number:04d}.jpg")


@contextmanager
def second_worker(settings: Settings):
    """Run another download worker beside the service's own."""
    celery = [str(Path(sys.executable).parent / "celery"), "-A", "app.app.celery", "worker"]
    command = [*celery, "-n", "io2@%h", "-Q", "io", "-P", "threads", "-c", "8", "--loglevel=info"]
    with (settings.data_folder / "logs" / "io2.log").open("wb") as log:
        process = subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=log, stderr=log)  # noqa: S603 (no word of it from outside)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def run(api: str, key: str, urls: list[str]) -> None:
    """Send the manifests and wait for all."""
    headers = {"X-API-Key": key}
    jobs = []
    for url in urls:
        answer = requests.post(f"{api}/run_detect", headers=headers, data={"manifest_url": url}, timeout=10)
        jobs.append(answer.json()["status_url"])
    waiting = set(jobs)
    while waiting:
        time.sleep(0.5)
        waiting = {job for job in waiting if not requests.get(job, headers=headers, timeout=10).json()["finished"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--rate", type=float, default=5.0, help="requests a second that a host may get")
    arguments = parser.parse_args()
    counter = Counter()
    with tempfile.TemporaryDirectory() as work:
        pages, data = Path(work) / "pages", Path(work) / "data"
        pages.mkdir()
        data.mkdir()
        draw_pages(pages, arguments.pages // MANIFESTS)
        settings = choose_settings(data, host_interval_seconds=1 / arguments.rate)
        with serve(create_library(pages, counter)) as library, run_service(settings) as api, second_worker(settings):
            key = add_app(Database(settings.sqlalchemy_url), "bench")
            time.sleep(8)  # until the second worker listens
            run(api, key, [f"{library}/{number}/manifest.json" for number in range(MANIFESTS)])
        shares = {log: (data / "logs" / f"{log}.log").read_text().count("download is done") for log in ("io", "io2")}
    count = len(counter.times)
    print(
        f"{arguments.pages} pages, {MANIFESTS} manifests, two workers (jobs downloaded: {shares}), {count} requests\n"
    )
    print("| | allowed | counted |\n| --- | --- | --- |")
    for seconds in (1, 10):
        most = counter.count_busiest(seconds)
        print(f"| most requests within {seconds} s | {arguments.rate * seconds:g} | {most} |")
    print(f"| most at the same time | {settings.host_connections} | {counter.most_at_once} |")
    span = max(counter.times) - min(counter.times)
    print(f"| requests a second, all in all | {arguments.rate:g} | {count / span:.2f} |")
    print(f"| seconds from the first to the last | {(count - 1) / arguments.rate:.0f} (floor) | {span:.0f} |")


if __name__ == "__main__":
    main()
