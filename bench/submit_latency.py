"""How long a request waits while a thousand jobs are queued: the API of a whole service, at a library that hangs.

    python bench/submit_latency.py [--queued 1000] [--requests 200]

Printed beside each other: POST /run_detect with nothing queued and with a thousand jobs queued, one client and eight at
a time, with a broker that hangs and one that is dead, and the floor, the same server answering GET /models.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.library import Answer, Library
from tests.support.service import Service, open_service


def measure(
    ask: Callable[[requests.Session, int], requests.Response], count: int, clients: int = 1, status: int = 200
) -> list[float]:
    """Return the milliseconds that each of some requests took, all of which must be answered with a status."""

    def run(client: int) -> list[float]:
        taken = []
        with requests.Session() as session:
            for number in range(client, count, clients):
                started = time.perf_counter()
                answer = ask(session, number)
                taken.append(1000 * (time.perf_counter() - started))
                assert answer.status_code == status, answer.text
        return taken

    with ThreadPoolExecutor(clients) as pool:
        return [each for taken in pool.map(run, range(clients)) for each in taken]


def report(what: str, taken: list[float]) -> None:
    p95 = statistics.quantiles(taken, n=20)[-1]
    print(f"| {what} | {statistics.median(taken):.1f} | {p95:.1f} | {max(taken):.1f} |", flush=True)


def run(service: Service, library: Library, queued: int, count: int) -> None:
    def submit(session: requests.Session, number: int) -> requests.Response:
        form = {"manifest_url": library.answer(f"/sent/{number}", Answer(hang=True))}
        return session.post(f"{service.api}/run_detect", headers=service.headers, data=form, timeout=30)

    def list_models(session: requests.Session, _: int) -> requests.Response:
        return session.get(f"{service.api}/models", timeout=30)

    print("| request | p50, ms | p95, ms | longest, ms |\n| --- | --- | --- | --- |")
    report("floor: GET /models", measure(list_models, count))
    report("POST /run_detect, nothing queued", measure(submit, count))
    listed = "\n".join(library.answer(f"/queued/{number}", Answer(hang=True)) for number in range(queued))
    started = time.perf_counter()
    service.post("/detect_all", files={"url_file": ("list.txt", listed)})
    print(f"| POST /detect_all of {queued} manifests | {1000 * (time.perf_counter() - started):.0f} | | |")
    report(f"POST /run_detect, {queued} queued", measure(submit, count))
    report(f"POST /run_detect, {queued} queued, 8 at a time", measure(submit, count, 8))
    (broker,) = service.processes("-server")
    broker.suspend()
    report("503: the broker hangs", measure(submit, 10, status=503))
    broker.resume()
    service.control("stop", "broker")
    report("503: the broker is dead", measure(submit, 10, status=503))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=200)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as data,
        Library().open() as library,
        open_service(Path(data)) as service,
    ):
        run(service, library, arguments.queued, arguments.requests)


if __name__ == "__main__":
    main()
