"""Measure the cost of a page, of a pair and of a query while documents, jobs and history grow.

    pages      detection of more and more pages, in one manifest and in manifests of ten pages
    documents  similarity of more and more documents of five images
    history    queries, with more and more finished jobs in the database

One process does the work of all workers, so that its processor time, its statements and its memory can be counted. The
library is another process and answers at once. Networks are small (64 pixels): a network costs the same for each page.
"""

import argparse
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import event, insert

from app import create_app
from app.auth import add_app
from app.config import Settings
from app.database.tables import Job
from app.demo.service import choose_settings
from app.jobs import State
from app.jobs.requests import DetectionRequest, SimilarityRequest
from app.jobs.states import DELIVER, DOWNLOAD, RUN, STAGES
from app.services import Services
from app.workers.tasks import load_stages, run_stage
from bench.plots import draw_growth
from bench.scale_library import run_library
from bench.tables import describe_machine, print_table
from tests.support.broker import run_broker

PAGES_OF_A_MANIFEST = 10
ROUNDS = 20

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pages", type=int, nargs="*", default=[10, 100, 1000, 10_000], metavar="N")
    parser.add_argument("--documents", type=int, nargs="*", default=[2, 10, 30, 100], metavar="N")
    parser.add_argument("--history", type=int, nargs="*", default=[0, 1000, 10_000, 100_000], metavar="N")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the costs as PNG")


def run(arguments: argparse.Namespace) -> None:
    """Print a table for each kind of growth."""
    tables: dict[str, list[Row]] = {}
    with run_library() as library, tempfile.TemporaryDirectory() as folder:
        settings = choose_settings(Path(folder))
        broker = settings.broker_url
        measures: dict[str, Iterator[Row]] = {
            "pages": measure_pages(arguments.pages, library, broker),
            "documents": measure_documents(arguments.documents, library, broker),
            "history": measure_history(arguments.history, broker),
        }
        with run_broker(settings):
            for name, rows in measures.items():
                tables[name] = [*rows]
                if tables[name]:
                    print(f"\n{name}, {describe_machine()}\n")
                    print_table([*tables[name][0]], [[*row.values()] for row in tables[name]])
    if arguments.plot:
        draw_growth(tables, arguments.plot)


def measure_pages(counts: Sequence[int], library: str, broker: str) -> Iterator[Row]:
    """Detect pages in one manifest, and in many manifests."""
    with open_worker(broker) as worker:  # loads the network
        worker.submit([DetectionRequest(f"{library}/1/0/manifest.json")])
        worker.work(1, "page")
    for of_a_manifest in (None, PAGES_OF_A_MANIFEST):
        for count in counts:
            size = of_a_manifest or count
            urls = [f"{library}/{size}/{number}/manifest.json" for number in range(count // size)]
            with open_worker(broker) as worker:
                worker.submit([DetectionRequest(url) for url in urls])
                yield {"pages": count, "manifests": len(urls), **worker.work(count, "page")}


def measure_documents(counts: Sequence[int], library: str, broker: str) -> Iterator[Row]:
    """Compare documents, each with every other and with itself, without verification. Images are embedded once."""
    with open_worker(broker) as worker:  # loads the network
        worker.submit([build_comparison(library, 1)])
        worker.work(1, "pair")
    for count in counts:
        with open_worker(broker) as worker:
            worker.submit([build_comparison(library, count)])
            pairs = count * (count + 1) // 2
            yield {"documents": count, "pairs": pairs, **worker.work(pairs, "pair")}


def build_comparison(library: str, count: int) -> SimilarityRequest:
    documents: Any = {f"d{number}": f"{library}/{number}/list.json" for number in range(count)}
    return SimilarityRequest(documents, model="illustrations", verify=0)


def measure_history(counts: Sequence[int], broker: str) -> Iterator[Row]:
    """Time queries with finished jobs in the database. Each value is the median, in milliseconds."""
    for count in counts:
        with open_worker(broker) as worker:
            add_history(worker, count)
            yield {"finished jobs": count, **measure_queries(worker)}


def measure_queries(worker: "Worker") -> Row:
    jobs, request = worker.services.jobs, DetectionRequest("http://127.0.0.1/manifest.json")
    (job_id,) = worker.submit([request])
    queries: dict[str, Callable[[], object]] = {
        "submit": lambda: worker.submit([request]),
        "lease": lambda: jobs.lease_next(DELIVER) or find_next(worker),
        "GET /jobs/<id>": lambda: worker.ask(f"/jobs/{job_id}"),
        "GET /jobs": lambda: worker.ask("/jobs"),
        "GET /metrics": lambda: worker.ask("/metrics"),
        "sweep": worker.sweep,
        "expired jobs": lambda: jobs.list_expired(0.0, 500),
    }
    return {f"{name}, ms": time_median(query) for name, query in queries.items()}


def find_next(worker: "Worker") -> object:
    with worker.services.database.session() as session:
        return worker.services.jobs.scheduler.find_next(session, DOWNLOAD)


def time_median(work: Callable[[], object]) -> float:
    work()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return round(1000 * statistics.median(seconds), 2)


class Worker:
    """An application with its own database and data folder, which does the work of all workers in this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = create_app(settings)
        self.services = self._app.extensions["services"]
        self._queue = self._app.extensions["queue"]
        self._key = add_app(self.services.database, "scale")
        self._client = self._app.test_client()
        self._statements = 0
        event.listen(self.services.database.engine, "before_cursor_execute", self._count)

    def submit(self, requests: Sequence[Any]) -> list[str]:
        return [job.id for job in self.services.jobs.submit(1, requests)]

    def ask(self, path: str) -> None:
        answer = self._client.get(path, headers={"X-API-Key": self._key})
        assert answer.status_code == 200, answer.text

    def sweep(self) -> None:
        jobs = self.services.jobs
        for stage in STAGES:
            jobs.end_overdue(stage, 1.0, 30.0)
            jobs.scheduler.count_waiting(stage, 32)
        jobs.free_abandoned()

    def work(self, count: int, unit: str) -> Row:
        """Run all stages of all jobs; return the costs."""
        start, processor, self._statements = time.perf_counter(), time.process_time(), 0
        for stage in (DOWNLOAD, RUN, DELIVER):
            while run_stage(self._queue, stage, partial(_run, stage.name)):
                pass
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        unfinished = [job.state for job in self.services.jobs.list_recent(1) if job.state != State.DONE]
        assert not unfinished, unfinished
        size = sum(path.stat().st_size for path in self._settings.data_folder.rglob("*") if path.is_file())
        return {
            "seconds": round(seconds, 1),
            f"ms/{unit}": round(1000 * seconds / count, 1),
            f"processor ms/{unit}": round(1000 * processor / count, 1),
            f"statements/{unit}": round(self._statements / count, 2),
            f"kB of disk/{unit}": round(size / 1000 / count, 1),
            "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }

    def close(self) -> None:
        self._queue.close()
        self.services.database.close()

    def _count(self, *_: Any) -> None:
        self._statements += 1


def _run(stage: str, services: Services, job: Job) -> State | None:
    state: State | None = getattr(load_stages(job), stage)(services, job)
    return state


@contextmanager
def open_worker(broker: str) -> Iterator[Worker]:
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "celery_broker_url": broker,
            "model_size": 64,
            "image_size": 64,
            "max_canvases": 100_000,
            "precision": "float32",
        }
        worker = Worker(choose_settings(Path(folder), **values))
        try:
            yield worker
        finally:
            worker.close()


def add_history(worker: Worker, count: int) -> None:
    """Add finished jobs to the database."""
    coverage = {"detected": 80, "empty": 20, "failed": []}
    now = time.time()
    shared = {"app_id": 1, "kind": DetectionRequest.kind, "state": State.DONE, "done": 100, "total": 100}
    for start in range(0, count, 1000):
        rows = [
            shared
            | {"id": uuid.uuid4().hex, "request": DetectionRequest(f"http://127.0.0.1/{number}").as_json()}
            | {"coverage": coverage, "created": now - number, "finished": now - number}
            for number in range(start, min(count, start + 1000))
        ]
        with worker.services.database.session() as session:
            session.execute(insert(Job), rows)
