"""Kill the processes of a whole service at random while it works, and count what is lost.

Manifests are sent one after the other, so that some are always under way. Meanwhile worker trees (a worker and its
children, by SIGKILL) and the broker are killed, and in the end the broker's data is wiped. Counted: jobs that did not
end as done, pages whose detection was saved twice, images fetched twice, results that did not arrive or came under two
webhook ids; and the seconds after each fault until the process that was hit works again: fetches a page (io), detects
on one (gpu), delivers a result (post); after a fault of the broker, all three.
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

# A worker → the work that shows that it runs.
WORKERS = {"io@": "pages", "gpu@": "detections", "post@": "results"}
LONGEST_PAUSE = 180


class Repeating(threading.Thread):
    """Takes a step at an interval, from a thread, until it is stopped."""

    def __init__(self, seconds: float) -> None:
        super().__init__(daemon=True)
        self._seconds = seconds
        self._over = threading.Event()

    def step(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        while not self._over.wait(self._seconds):
            self.step()

    def stop(self) -> None:
        self._over.set()
        self.join()


class Monitor(Repeating):
    """Reads the service's files many times a second: when a page is saved, and whether one is saved again.

    Attributes:
        saved_again: Number of files of each kind that were written more than once.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(0.05)
        self._service = service
        self._inodes: dict[str, dict[Path, int]] = {"pages": {}, "detections": {}}
        self._results = 0
        self._last = dict.fromkeys(WORKERS.values(), 0.0)
        self.saved_again: Counter[str] = Counter()

    def step(self) -> None:
        for kind, known in self._inodes.items():
            for path in (self._service.settings.data_folder / "jobs").glob(f"*/{kind}/*.json"):
                inode = path.stat().st_ino
                if known.get(path) != inode:
                    self.saved_again[kind] += path in known
                    known[path] = inode
                    self._last[kind] = time.monotonic()
        if len(self._service.receiver.received) > self._results:
            self._results = len(self._service.receiver.received)
            self._last["results"] = time.monotonic()

    def wait_for_work(self, kinds: Iterable[str]) -> float:
        """Return the seconds until there is new work of each kind."""
        start = time.monotonic()
        wait_until(lambda: all(self._last[kind] > start for kind in kinds), LONGEST_PAUSE)
        return time.monotonic() - start


class Submitter(Repeating):
    """Sends another manifest whenever fewer than a few jobs are under way.

    Attributes:
        jobs: IDs of the accepted jobs.
        refused: Number of requests that were refused.
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
        except AssertionError:  # not answered with 200
            self.refused += 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=50, help="of workers (default: %(default)s)")
    parser.add_argument("--broker-restarts", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--pages", type=int, default=12, help="of a manifest (default: %(default)s)")
    parser.add_argument("--under-way", type=int, default=6, help="jobs at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)


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
    """Return a library that serves one document under any number of addresses."""
    app = create_iiif_server(folder)

    @app.get("/<int:number>/manifest.json")
    def numbered(number: int) -> Response:
        document = current_app.make_response(current_app.view_functions["manifest"]()).get_json()  # type: ignore[arg-type]
        return jsonify(document | {"id": f"{request.host_url}doc{number}/manifest.json"})

    return app


def kill_worker(service: Service) -> list[str]:
    """Kill a worker with its children, or the detector's child alone; return the work that shows that it is back."""
    word = random.choice(list(WORKERS))
    tree = service.find_processes(word)
    victims = tree[-1:] if word == "gpu@" and random.random() < 0.5 else tree
    for process in victims:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=10)
    return [WORKERS[word]]


def restart_broker(service: Service) -> list[str]:
    """Kill the broker and wait until it answers again."""
    for process in service.find_processes("-server"):
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    wait_until(lambda: broker_answers(service))
    return list(WORKERS.values())


def wipe_broker(service: Service) -> list[str]:
    """Remove everything that the broker holds."""
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
            raise TimeoutError("The service does not come back.")
        time.sleep(0.05)


def inject(faults: list[Fault], service: Service, monitor: Monitor) -> dict[str, list[float]]:
    """Inject the faults, each when the service works again after the one before; return the seconds that took."""
    pauses = defaultdict(list)
    for number, fault in enumerate(faults, 1):
        time.sleep(random.uniform(0.2, 3))
        pauses[NAMES[fault]].append(monitor.wait_for_work(fault(service)))
        print(f"\r{number} of {len(faults)} faults", end="", flush=True)
    print("\n")
    return pauses


def report(service: Service, submitter: Submitter, monitor: Monitor, pauses: dict[str, list[float]], pages: int) -> int:
    """Wait for the remaining jobs and print the tables; return the number of losses."""
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
        ("pages detected twice", monitor.saved_again["detections"]),
        ("pages fetched twice", monitor.saved_again["pages"]),
        ("results that did not arrive", missing),
        ("results under more than one webhook-id", doubled),
        ("results that came again under the same id", len(service.receiver.received) - len(webhook_ids)),
        ("requests refused", submitter.refused),
    ]
    print()
    print_table([f"counted, of {jobs} jobs and {jobs * pages} pages", ""], counts)
    return lost + missing + doubled + monitor.saved_again["detections"]
