"""Kill the processes of a running service at random, and count what is lost.

Manifests are submitted one after another, so that some jobs are always running. Meanwhile, workers with their children
and the broker are killed by SIGKILL. In the end, all data of the broker is wiped. The command counts

- jobs that do not end as done;
- pages that are detected or fetched twice;
- results that do not arrive, or arrive under two webhook ids;
- seconds from each fault to recovery.

A worker has recovered when it does its work again: `io` fetches a page, `gpu` detects on a page, `post` delivers a
result. After a fault of the broker, all three must have recovered.
"""

import argparse
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import redis
from flask import Flask, Response, current_app, jsonify, request
from PIL import Image

from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from bench.tables import describe_machine, print_table
from tests.support.service import Service, open_service

# Worker → the kind of output that shows that it works.
WORKERS = {"io@": "pages", "gpu@": "detections", "post@": "results"}
LONGEST_PAUSE = 180


class Repeating(threading.Thread):
    """Thread that calls ``step`` at an interval until it is stopped."""

    def __init__(self, seconds: float) -> None:
        super().__init__(daemon=True)
        self._seconds = seconds
        self._stopped = threading.Event()

    def step(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.step()

    def stop(self) -> None:
        self._stopped.set()
        self.join()


class Monitor(Repeating):
    """Polls the records and results of the service, to see when one is written and whether it is written twice.

    Attributes:
        saved_again: Number of repeated records, by kind and file.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(0.05)
        self._service = service
        self._sizes: dict[str, dict[Path, int]] = {"pages": {}, "detections": {}}
        self._results = 0
        self._last = dict.fromkeys(WORKERS.values(), 0.0)
        self.saved_again: dict[str, Counter[Path]] = {kind: Counter() for kind in self._sizes}

    def step(self) -> None:
        for kind, known in self._sizes.items():
            for path in (self._service.settings.data_folder / "jobs").glob(f"*/{kind}.jsonl"):
                content = path.read_bytes() if path.stat().st_size != known.get(path) else b""
                if content:
                    keys = [line.partition(b",")[0] for line in content.split(b"\n")[:-1]]
                    self.saved_again[kind][path] = len(keys) - len({*keys})
                    known[path] = len(content)
                    self._last[kind] = time.monotonic()
        if len(self._service.receiver.received) > self._results:
            self._results = len(self._service.receiver.received)
            self._last["results"] = time.monotonic()

    def wait_for_work(self, kinds: Iterable[str]) -> float:
        """Wait until there is new output of each kind; return the seconds that this took."""
        start = time.monotonic()
        wait_until(lambda: all(self._last[kind] > start for kind in kinds), LONGEST_PAUSE)
        return time.monotonic() - start


class Submitter(Repeating):
    """Submits the next manifest whenever fewer than ``under_way`` jobs are unfinished.

    Attributes:
        jobs: IDs of the accepted jobs.
        refused: Number of refused requests.
    """

    def __init__(self, service: Service, library: str, under_way: int) -> None:
        super().__init__(0.2)
        self._service = service
        self._library = library
        self._under_way = under_way
        self.jobs: list[str] = []
        self.refused = 0

    def step(self) -> None:
        if len(self.jobs) - len({each.path for each in self._service.receiver.received}) >= self._under_way:
            return
        form = {"manifest_url": f"{self._library}/{len(self.jobs)}/manifest.json"}
        try:
            self.jobs.append(self._service.post("/run_detect", data=form)["job_id"])
        except AssertionError:  # the status was not 200
            self.refused += 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=50, help="number of killed workers (default: %(default)s)")
    parser.add_argument(
        "--broker-restarts", type=int, default=20, help="number of broker restarts (default: %(default)s)"
    )
    parser.add_argument("--pages", type=int, default=12, help="pages per manifest (default: %(default)s)")
    parser.add_argument("--under-way", type=int, default=6, help="jobs at the same time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random faults (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    random.seed(arguments.seed)
    faults = [kill_worker] * arguments.kills + [restart_broker] * arguments.broker_restarts
    random.shuffle(faults)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as pages, tempfile.TemporaryDirectory() as data:
        draw_pages(Path(pages), arguments.pages)
        as_installed = {"heartbeat_seconds": 5, "stale_seconds": 30, "fetch_attempts": 5}
        with (
            serve(create_library(Path(pages))) as library,
            open_service(Path(data), (), host_interval_seconds=0.02, **as_installed) as service,
        ):
            monitor, submitter = Monitor(service), Submitter(service, library, arguments.under_way)
            monitor.start()
            submitter.start()
            wait_until(lambda: len(service.receiver.received) > 0)
            pauses = inject([*faults, wipe_broker], service, monitor)
            submitter.stop()
            lost = report(service, submitter, monitor, pauses, arguments.pages)
    sys.exit(1 if lost else 0)


def draw_pages(folder: Path, count: int) -> None:
    for number in range(count):
        Image.effect_noise((700, 900), 40).convert("RGB").save(folder / f"{number:02d}.jpg")


def create_library(folder: Path) -> Flask:
    """Return a library that serves one document under every address ``/<number>/manifest.json``."""
    app = create_iiif_server(folder)

    @app.get("/<int:number>/manifest.json")
    def numbered(number: int) -> Response:
        document = current_app.make_response(current_app.view_functions["manifest"]()).get_json()  # type: ignore[arg-type]
        return jsonify(document | {"id": f"{request.host_url}doc{number}/manifest.json"})

    return app


def kill_worker(service: Service) -> list[str]:
    """Kill a worker with its children, or only the child of the detector; return the output that proves recovery."""
    word = random.choice(list(WORKERS))
    tree = service.find_processes(word)
    victims = tree[-1:] if word == "gpu@" and random.random() < 0.5 else tree
    for process in victims:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=10)
    return [WORKERS[word]]


def restart_broker(service: Service) -> list[str]:
    """Kill the broker and wait until it answers again; return the output that proves recovery."""
    for process in service.find_processes("-server"):
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    wait_until(lambda: broker_answers(service))
    return list(WORKERS.values())


def wipe_broker(service: Service) -> list[str]:
    """Delete all data of the broker; return the output that proves recovery."""
    with redis.Redis.from_url(service.settings.broker_url) as broker:
        broker.flushall()
    return list(WORKERS.values())


Fault = Callable[[Service], list[str]]
NAMES: dict[Fault, str] = {
    kill_worker: "worker tree killed",
    restart_broker: "broker restarted",
    wipe_broker: "broker wiped",
}


def broker_answers(service: Service) -> bool:
    try:
        with redis.Redis.from_url(service.settings.broker_url) as broker:
            return bool(broker.ping())
    except redis.ConnectionError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"The service has not recovered within {seconds:.0f} seconds.")
        time.sleep(0.05)


def inject(faults: list[Fault], service: Service, monitor: Monitor) -> dict[str, list[float]]:
    """Inject each fault after the service has recovered from the previous one; return the recovery times by fault."""
    pauses = defaultdict(list)
    for number, fault in enumerate(faults, 1):
        time.sleep(random.uniform(0.2, 3))
        pauses[NAMES[fault]].append(monitor.wait_for_work(fault(service)))
        print(f"\r{number} of {len(faults)} faults", end="", flush=True)
    print("\n")
    return pauses


def report(service: Service, submitter: Submitter, monitor: Monitor, pauses: dict[str, list[float]], pages: int) -> int:
    """Wait for the remaining jobs and print the tables.

    Returns:
        The number of lost jobs, missing results, results with two webhook ids, and pages detected twice.
    """
    jobs = len(submitter.jobs)
    states = Counter(service.wait_until_finished(job_id)["state"] for job_id in submitter.jobs)
    service.receiver.wait(jobs, timeout=120)
    monitor.stop()
    monitor.step()
    webhook_ids = defaultdict(set)
    for each in service.receiver.received:
        webhook_ids[each.path].add(each.headers["Webhook-Id"])
    lost, missing = jobs - states["done"], jobs - len(webhook_ids)
    doubled = sum(len(ids) > 1 for ids in webhook_ids.values())
    rows = [
        (name, len(times), f"{statistics.median(times):.1f}", f"{max(times):.1f}") for name, times in pauses.items()
    ]
    print_table(["fault", "times", "seconds until it works again: median", "longest"], rows)
    counts = [
        (f"jobs lost (final states: {dict(states)})", lost),
        ("pages detected twice", monitor.saved_again["detections"].total()),
        ("pages fetched twice", monitor.saved_again["pages"].total()),
        ("results that did not arrive", missing),
        ("results under more than one webhook-id", doubled),
        ("results that came again under the same id", len(service.receiver.received) - len(webhook_ids)),
        ("requests refused", submitter.refused),
    ]
    print()
    print_table([f"counted, of {jobs} jobs and {jobs * pages} pages", ""], counts)
    return lost + missing + doubled + monitor.saved_again["detections"].total()
