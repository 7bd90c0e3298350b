"""Measure the rate of one and of two workers of a queue in turn, with PostgreSQL.

network    `io` workers: one page from each of many slow libraries, so that the processor is not the limit
processor  `gpu` workers: cached pages; the second worker has a core of its own, and everything else shares another
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask

from app.config import ROOT, Settings
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.demo.service import build_environment
from bench.politeness import LOOPBACK, draw_pages
from bench.tables import describe_machine, print_table
from tests.support.postgresql import run_server
from tests.support.service import Service, open_service

SETTINGS: dict[str, Any] = {"batch_size": 8, "heartbeat_seconds": 5.0, "trusted_hosts": LOOPBACK}
DONE = {"io": "download is done", "gpu": "run is done"}
Start = Callable[[Service], int]  # starts jobs and returns their number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each case (default: %(default)s)")
    parser.add_argument("--hosts", type=int, default=64, help="slow libraries; 0 for none (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=4.0, help="seconds of each answer (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=20, help="jobs with cached pages; 0 for none (default: %(default)s)"
    )
    parser.add_argument("--pages", type=int, default=40, help="pages of each of them (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    rows = []
    if arguments.hosts:
        with open_slow_libraries(arguments.hosts, arguments.latency) as start:
            rows += compare("network", "io", start, arguments.rounds)
    if arguments.jobs:
        with open_cached_document(arguments.jobs, arguments.pages) as start:
            rows += compare("processor", "gpu", start, arguments.rounds, *sorted(os.sched_getaffinity(0))[:2])
    print(f"{describe_machine()}\n")
    print_table(["case", "workers", "jobs", "seconds", "jobs/s", "one worker = 1", "jobs of the second"], rows)


@contextmanager
def open_slow_libraries(hosts: int, latency: float) -> Iterator[Start]:
    """Serve one page from each of many hosts. Each answer takes some seconds."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as served:
        draw_pages(Path(folder), 1)
        library, numbers = number_manifests(create_iiif_server(Path(folder))), itertools.count()
        library.before_request(lambda: time.sleep(latency))
        addresses = [served.enter_context(serve(library)) for _ in range(hosts)]

        def start(service: Service) -> int:
            number = next(numbers)  # a new manifest, so that its page is in no cache
            urls = [f"{address}/{number}/manifest.json" for address in addresses]
            return len(service.post("/detect_all", files={"url_file": "\n".join(urls)})["jobs"])

        yield start


def number_manifests(library: Flask) -> Flask:
    """Let a library serve its document under many manifest addresses."""
    view: Any = library.view_functions["manifest"]
    library.add_url_rule("/<int:number>/manifest.json", "numbered", lambda number: view())
    return library


@contextmanager
def open_cached_document(jobs: int, pages: int) -> Iterator[Start]:
    """Serve a document for several jobs, which fetch its pages once."""
    with tempfile.TemporaryDirectory() as folder:
        draw_pages(Path(folder), pages)
        with serve(create_iiif_server(Path(folder))) as library:

            def start(service: Service) -> int:
                for _ in range(jobs):
                    service.detect(f"{library}/manifest.json")
                return jobs

            yield start


def compare(
    case: str, queue: str, start: Start, rounds: int, core: int | None = None, other: int | None = None
) -> list[list[str]]:
    """Return the rows of a case. The service runs on ``core``, and the second worker of the queue on ``other``."""
    found: dict[int, list[tuple[int, float, int]]] = {1: [], 2: []}
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as data, ExitStack() as opened:
        if core is not None:
            os.sched_setaffinity(0, {core})  # processes that are started from now on inherit it
            opened.callback(os.sched_setaffinity, 0, cores)
        database = opened.enter_context(run_server()).create_database()
        service = opened.enter_context(open_service(Path(data), database_url=database, **SETTINGS))
        measure(service, start)  # loads the network, and fetches the pages of cached documents
        for workers in (1, 2) * rounds:
            log = Path(data) / "logs" / f"{queue}2.log"
            log.write_text("")
            with open_worker(service.settings, queue, log, other) if workers == 2 else ExitStack():
                jobs, seconds = measure(service, start)
            found[workers].append((jobs, seconds, log.read_text().count(DONE[queue])))
    ratio = statistics.median(one[1] / two[1] for one, two in zip(found[1], found[2], strict=True))
    return [build_row(case, 1, found[1], 1.0), build_row(case, 2, found[2], ratio)]


def measure(service: Service, start: Start) -> tuple[int, float]:
    """Return the number of jobs, and the seconds until the client app has received their results."""
    service.receiver.received.clear()
    began = time.perf_counter()
    service.wait_for_messages(jobs := start(service))
    return jobs, time.perf_counter() - began


@contextmanager
def open_worker(settings: Settings, queue: str, log: Path, core: int | None = None) -> Iterator[None]:
    """Run a second worker of a queue; the context starts when the worker is ready."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    command = [*pinned, sys.executable, "-m", "app.workers", queue, "--name", f"{queue}2"]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=output, stderr=output) as process,
    ):
        try:
            while " ready." not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def build_row(case: str, workers: int, found: list[tuple[int, float, int]], ratio: float) -> list[str]:
    jobs, seconds = found[0][0], statistics.median(each[1] for each in found)
    second = "–" if workers == 1 else ", ".join(str(each[2]) for each in found)
    return [case, str(workers), str(jobs), f"{seconds:.1f}", f"{jobs / seconds:.2f}", f"{ratio:.2f}", second]
