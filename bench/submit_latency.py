"""Measure how long a request takes while a thousand jobs are queued.

A whole service runs with a library that never answers, so that all jobs stay queued. POST /run_detect is timed in these
situations:

- with an empty queue;
- with a thousand queued jobs, from one client and from eight at the same time;
- while the broker hangs, and after it has stopped.

The floor is GET /models on the same server. Each situation is measured on the idle machine and next to busy processes.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from bench.tables import describe_machine, print_table
from bench.timing import QUIET, add_busy_argument, apply_loads
from tests.support.library import Answer, Library
from tests.support.service import Service, open_service

Ask = Callable[[requests.Session], requests.Response]
Row = tuple[object, ...]

HEAD = ("request", "load", "answers", "p50, ms", "p95, ms", "longest, ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queued", type=int, default=1000, help="number of queued jobs (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=200, help="timed requests per row (default: %(default)s)")
    add_busy_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    with (
        tempfile.TemporaryDirectory() as data,
        Library().open() as library,
        open_service(Path(data)) as service,
    ):
        print(f"{describe_machine()}\n")
        print_table(HEAD, Measurement(service, library, arguments).run())


class Measurement:
    """Measures the rows of the table."""

    def __init__(self, service: Service, library: Library, arguments: argparse.Namespace) -> None:
        self._service = service
        self._library = library
        self._arguments = arguments
        self._numbers = itertools.count()

    def run(self) -> Iterator[Row]:
        """Yield each row as soon as it is measured."""
        count, queued = self._arguments.requests, self._arguments.queued
        yield from self._time("floor: GET /models", self._list_models, count)
        yield from self._time("POST /run_detect, nothing queued", self._submit, count)
        yield self._fill_queue(queued)
        yield from self._time(f"POST /run_detect, {queued} queued", self._submit, count)
        yield from self._time(f"POST /run_detect, {queued} queued, 8 at a time", self._submit, count, clients=8)
        (broker,) = self._service.find_processes("-server")
        broker.suspend()
        yield from self._time("POST /run_detect, the broker hangs", self._submit, min(10, count))
        broker.resume()
        with self._service.stop_program("broker"):
            yield from self._time("POST /run_detect, the broker is dead", self._submit, min(10, count))

    def _list_models(self, session: requests.Session) -> requests.Response:
        return session.get(f"{self._service.api}/models", timeout=30)

    def _submit(self, session: requests.Session) -> requests.Response:
        form = {"manifest_url": self._library.answer(f"/sent/{next(self._numbers)}", Answer(hang=True))}
        return session.post(f"{self._service.api}/run_detect", headers=self._service.headers, data=form, timeout=30)

    def _fill_queue(self, count: int) -> Row:
        urls = "\n".join(self._library.answer(f"/queued/{number}", Answer(hang=True)) for number in range(count))
        started = time.perf_counter()
        self._service.post("/detect_all", files={"url_file": ("list.txt", urls)})
        return (
            f"POST /detect_all of {count} manifests",
            QUIET,
            200,
            f"{1000 * (time.perf_counter() - started):.0f}",
            "",
            "",
        )

    def _time(self, name: str, ask: Ask, count: int, clients: int = 1) -> Iterator[Row]:
        """Time a request under each load.

        Args:
            name: Label of the rows.
            ask: Function that sends the request.
            count: Number of requests, over all clients.
            clients: Number of clients that send at the same time.

        Yields:
            A row for each load.
        """
        shares = [len(range(client, count, clients)) for client in range(clients)]
        for load in apply_loads(self._arguments.busy):
            with ThreadPoolExecutor(clients) as pool:
                answers = [each for some in pool.map(lambda share: ask_often(ask, share), shares) for each in some]
            taken = [milliseconds for milliseconds, _ in answers]
            statuses = ", ".join(map(str, sorted({status for _, status in answers})))
            p95 = statistics.quantiles(taken, n=20, method="inclusive")[-1]
            yield name, load, statuses, f"{statistics.median(taken):.1f}", f"{p95:.1f}", f"{max(taken):.1f}"


def ask_often(ask: Ask, count: int) -> list[tuple[float, int]]:
    """Send a request several times in one session; return the milliseconds and the status of each answer."""
    answers = []
    with requests.Session() as session:
        for _ in range(count):
            started = time.perf_counter()
            status = ask(session).status_code
            answers.append((1000 * (time.perf_counter() - started), status))
    return answers
