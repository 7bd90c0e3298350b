"""Time ways of doing the same work: they take turns, on the machine as it is and next to busy processes."""

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
# Ends when its parent is gone, however that ended.
_SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"


@dataclass(frozen=True)
class Timings:
    """Seconds of each way in each round: ``seconds[load][way][round]``."""

    seconds: Mapping[str, Mapping[str, Sequence[float]]]

    def median(self, load: str, way: str) -> float:
        return statistics.median(self.seconds[load][way])

    def ratio(self, load: str, way: str, other: str) -> float:
        """Return the median over the rounds of one way's time divided by another's in the same round."""
        ways = self.seconds[load]
        return statistics.median(one / two for one, two in zip(ways[way], ways[other], strict=True))


def add_timing_arguments(parser: argparse.ArgumentParser, rounds: int = 5) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help="measured rounds (default: %(default)s)")
    add_busy_argument(parser)


def add_busy_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--busy", type=int, default=1, help="processes that keep a core busy each; 0: only quiet (default: %(default)s)"
    )


def apply_loads(busy: int) -> Iterator[str]:
    """Yield each load while the machine is under it; without busy processes there is only the quiet one."""
    yield QUIET
    if busy:
        with keep_busy(busy):
            yield BUSY


@contextmanager
def keep_busy(processes: int) -> Iterator[None]:
    """Run processes that keep a core busy each."""
    running = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def take_turns(ways: Mapping[str, Way], rounds: int, busy: int) -> Timings:
    """Time each way in each round, quiet and next to busy processes.

    The ways take turns within a round, in the opposite order in every second one, and the loads take turns too. Other
    work on the machine so slows down all of them alike. A first round warms up and is not counted.
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
        torch.set_num_threads(threads)  # ultralytics takes one less when it chooses a device
        start = time.perf_counter()
        way()
        seconds[name] = time.perf_counter() - start
    return seconds


def print_speeds(timings: Timings, count: int | None, unit: str, floor: str, original: str = "") -> None:
    """Print each way's speed next to the floor's and the original's, a group of columns for each load.

    Args:
        timings: What was measured.
        count: Number of items that each way worked on; None shows seconds instead of items a second.
        unit: Heading of the speed.
        floor: Name of the way that is the floor.
        original: Name of the original's way.
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
