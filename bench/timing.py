"""Time several ways of doing the same work, alternating between them, with and without other load on the machine."""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bench.tables import print_table

Way = Callable[[], object]

QUIET, BUSY = "quiet", "busy"
# Exits when its parent has ended, even if the parent was killed.
_SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"


@dataclass(frozen=True)
class Timings:
    """Measured times.

    Attributes:
        seconds: Seconds of each way in each round: ``seconds[load][way][round]``.
    """

    seconds: Mapping[str, Mapping[str, Sequence[float]]]

    def median(self, load: str, way: str) -> float:
        return statistics.median(self.seconds[load][way])

    def ratio(self, load: str, way: str, other: str) -> float:
        """Return the median, over the rounds, of the time of one way divided by that of another in the same round."""
        ways = self.seconds[load]
        return statistics.median(one / two for one, two in zip(ways[way], ways[other], strict=True))


def add_timing_arguments(parser: argparse.ArgumentParser, rounds: int = 5) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help="number of measured rounds (default: %(default)s)")
    add_busy_argument(parser)


def add_busy_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--busy",
        type=int,
        default=1,
        help="number of processes that each keep a core busy; 0 measures only the idle machine (default: %(default)s)",
    )


def apply_loads(busy: int) -> Iterator[str]:
    """Yield the name of each load while that load is applied to the machine.

    Args:
        busy: Number of busy processes of the second load; with 0 there is only the quiet load.
    """
    yield QUIET
    if busy:
        with keep_busy(busy):
            yield BUSY


@contextmanager
def keep_busy(processes: int) -> Iterator[None]:
    """Run a number of processes that each keep a core busy."""
    running = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def take_turns(ways: Mapping[str, Way], rounds: int, busy: int) -> Timings:
    """Time each way in each round, quiet and next to busy processes.

    Every round runs all ways under each load, and every second round reverses their order. So other work on the machine
    slows down all ways alike. A first round for warming up is not counted.

    Args:
        ways: Functions to time, by name.
        rounds: Number of measured rounds.
        busy: Number of busy processes; 0 measures only the quiet machine.
    """
    threads = torch.get_num_threads()
    _run_round(ways, threads)
    seconds: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        order = dict(reversed(list(ways.items()))) if number % 2 else ways
        for load in apply_loads(busy):
            for name, taken in _run_round(order, threads).items():
                seconds.setdefault(load, {way: [] for way in ways})[name].append(taken)
    return Timings(seconds)


def _run_round(ways: Mapping[str, Way], threads: int) -> dict[str, float]:
    seconds = {}
    for name, way in ways.items():
        torch.set_num_threads(threads)  # ultralytics reduces the number by one when it selects a device
        start = time.perf_counter()
        way()
        seconds[name] = time.perf_counter() - start
    return seconds


def print_speeds(timings: Timings, count: int | None, unit: str, floor: str, original: str = "") -> None:
    """Print a table of the speed of each way, compared with the floor and the original, with columns for each load.

    Args:
        timings: Measured times.
        count: Number of items that each way processed; None prints seconds instead of items per second.
        unit: Heading of the speed column.
        floor: Name of the way that is the floor.
        original: Name of the way of the original extractorAPI, if it is compared.
    """
    head, rows = ["way"], {way: [way] for way in timings.seconds[QUIET]}
    for load in timings.seconds:
        labels = [unit, "time, floor = 1", *(["speed, original = 1"] if original else [])]
        head += labels if load == QUIET else [f"{load}: {label}" for label in labels]
        for way, row in rows.items():
            median = timings.median(load, way)
            row += [f"{count / median:.1f}" if count else f"{median:.2f}", f"{timings.ratio(load, way, floor):.2f}"]
            row += [f"{timings.ratio(load, original, way):.1f}"] if original else []
    print_table(head, rows.values())
