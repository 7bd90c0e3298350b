"""Whether jobs survive everything: a whole service under work while its processes are killed at random.

    python bench/soak.py [--kills 50] [--broker-restarts 20] [--seed 1]

Manifests are sent one after the other, so that some are always under way. Meanwhile worker trees (a worker and its
children, by SIGKILL) and the broker are killed, and in the end the broker's data is wiped. Counted: jobs that did not
end as done, pages whose detection was saved twice, images fetched twice, results that did not arrive or came under two
webhook ids; and the seconds after each blow until whoever was hit does something again: fetches a page (io), looks at
one (gpu), delivers a result (post); after a blow to the broker, all three.
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
from flask import Flask, jsonify, request
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from tests.support.service import Service, open_service

PAGES = 12
UNDER_WAY = 6
# What comes of each worker's work.
WORKERS = {"io@": "pages", "gpu@": "detections", "post@": "results"}
LONGEST_PAUSE = 180


class CountingLibrary:
    """Serves one document under any number of addresses, and counts how often each image is fetched for each."""

    def __init__(self, folder: Path) -> None:
        for number in range(PAGES):
            Image.effect_noise((700, 900), 40).convert("RGB").save(folder / f"{number:02d}.jpg")
        self._app = create_iiif_server(folder)

    def create_app(self) -> Flask:
        manifest = self._app.view_functions["manifest"]

        @self._app.get("/<int:number>/manifest.json")
        def numbered(number: int):
            document = manifest().get_json()
            return jsonify(document | {"id": f"{request.host_url}doc{number}/manifest.json"})

        return self._app


class Watch:
    """Looks at the service's files many times a second: when pages are saved, and whether one is saved again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seen: dict[str, dict[Path, int]] = {"pages": {}, "detections": {}}
        self.again: Counter[str] = Counter()
        self.last_news = dict.fromkeys(WORKERS.values(), 0.0)
        self._results = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            self._look()

    def _look(self) -> None:
        for kind, seen in self._seen.items():
            for path in (self._service.settings.data_folder / "jobs").glob(f"*/{kind}/*.json"):
                inode = path.stat().st_ino
                if seen.get(path) == inode:
                    continue
                self.again[kind] += path in seen
                seen[path] = inode
                self.last_news[kind] = time.monotonic()
        if len(self._service.receiver.received) > self._results:
            self._results = len(self._service.receiver.received)
            self.last_news["results"] = time.monotonic()

    def wait_for_news(self, since: float, kinds: Iterable[str]) -> float:
        """Return the seconds from a moment until there was something new of each kind."""
        wait_until(lambda: all(self.last_news[kind] > since for kind in kinds), LONGEST_PAUSE)
        return time.monotonic() - since

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._look()


class Feeder:
    """Sends another manifest whenever fewer than a few are under way."""

    def __init__(self, service: Service, library: str) -> None:
        self._service = service
        self._library = library
        self.jobs: list[str] = []
        self.refused = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.2):
            if len(self.jobs) - len({each.path for each in self._service.receiver.received}) < UNDER_WAY:
                self._send()

    def _send(self) -> None:
        form = {"manifest_url": f"{self._library}/{len(self.jobs)}/manifest.json"}
        try:
            self.jobs.append(self._service.post("/run_detect", data=form)["job_id"])
        except AssertionError:  # the broker is away: 503, try again
            self.refused += 1

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def kill_worker(service: Service) -> list[str]:
    """Kill one of the workers with its children, or its child alone; return what comes of its work."""
    word = random.choice(list(WORKERS))
    tree = service.processes(word)
    victims = tree[-1:] if word == "gpu@" and random.random() < 0.5 else tree
    for process in victims:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=10)
    return [WORKERS[word]]


def restart_broker(service: Service) -> list[str]:
    for process in service.processes("-server"):
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    wait_until(lambda: broker_answers(service))
    return list(WORKERS.values())


def wipe_broker(service: Service) -> list[str]:
    with redis.Redis.from_url(service.settings.broker_url) as broker:
        broker.flushall()
    return list(WORKERS.values())


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


def strike(service: Service, watch: Watch, blows: list[str]) -> dict[str, list[float]]:
    """Deal the blows in turn, each when the service has gone on after the one before; return the seconds it took."""
    deal = {"worker tree killed": kill_worker, "broker restarted": restart_broker, "broker wiped": wipe_broker}
    taken = defaultdict(list)
    for number, blow in enumerate(blows, 1):
        time.sleep(random.uniform(0.2, 3))
        hit = deal[blow](service)
        taken[blow].append(watch.wait_for_news(time.monotonic(), hit))
        print(f"\r{number} of {len(blows)} blows", end="", flush=True)
    print()
    return taken


def report(service: Service, feeder: Feeder, watch: Watch, taken: dict[str, list[float]]) -> int:
    states = Counter(service.finish(job_id)["state"] for job_id in feeder.jobs)
    service.receiver.wait(len(feeder.jobs), timeout=120)
    watch.stop()
    ids = defaultdict(set)
    for each in service.receiver.received:
        ids[each.path].add(each.headers["Webhook-Id"])
    lost = len(feeder.jobs) - states["done"]
    missing, doubled = len(feeder.jobs) - len(ids), sum(len(each) > 1 for each in ids.values())
    print(f"{len(feeder.jobs)} jobs of {PAGES} pages ({feeder.refused} requests refused while the broker was away)")
    print("| blow | times | seconds to go on: median | longest |\n| --- | --- | --- | --- |")
    for blow, seconds in taken.items():
        print(f"| {blow} | {len(seconds)} | {statistics.median(seconds):.1f} | {max(seconds):.1f} |")
    print("\n| counted | |\n| --- | --- |")
    print(f"| jobs lost (not done in the end: {dict(states)}) | {lost} |")
    print(f"| pages detected twice, of {PAGES * len(feeder.jobs)} | {watch.again['detections']} |")
    print(f"| pages fetched twice | {watch.again['pages']} |")
    print(f"| results that did not arrive | {missing} |")
    print(f"| results under more than one webhook-id | {doubled} |")
    print(f"| results that came again under the same id | {len(service.receiver.received) - len(ids)} |")
    return lost + missing + doubled + watch.again["detections"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--broker-restarts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    blows = ["worker tree killed"] * arguments.kills + ["broker restarted"] * arguments.broker_restarts
    random.shuffle(blows)
    with tempfile.TemporaryDirectory() as pages, tempfile.TemporaryDirectory() as data:
        as_installed = {"heartbeat_seconds": 5, "stale_seconds": 30, "fetch_attempts": 5}
        with (
            serve(CountingLibrary(Path(pages)).create_app()) as library,
            open_service(Path(data), host_interval_seconds=0.02, **as_installed) as service,
        ):
            watch, feeder = Watch(service), Feeder(service, library)
            wait_until(lambda: len(service.receiver.received) > 0)
            taken = strike(service, watch, [*blows, "broker wiped"])
            feeder.stop()
            sys.exit(1 if report(service, feeder, watch, taken) else 0)


if __name__ == "__main__":
    main()
