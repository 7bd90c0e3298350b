"""Work at many servers at once: each has threads of its own, so that a slow one holds up no other."""

import queue
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import cycle
from typing import TypeVar

# How often a download says how far it is, and learns whether it is still wanted.
TICK_SECONDS = 0.5
# Beyond so many hosts, some share their threads.
MOST_POOLS = 8

T = TypeVar("T")


def run_by_host(
    tasks: Iterable[tuple[str, Callable[[], T]]], threads: int, take: Callable[[T], None], tick: Callable[[], None]
) -> None:
    """Do tasks, each at a host, and give what they return to ``take``, in this thread.

    Args:
        tasks: The host and the work; an error of one ends all.
        threads: For each host.
        take: Told each result.
        tick: Called twice a second and at the end; raises when the work is no longer wanted.
    """
    tasks = list(tasks)
    hosts = sorted({host for host, _ in tasks})
    pools = [ThreadPoolExecutor(threads, thread_name_prefix="fetch") for _ in hosts[:MOST_POOLS]]
    pool_of = dict(zip(hosts, cycle(pools), strict=False))
    finished: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    try:
        for host, task in tasks:
            # Each in a copy of this thread's context: its log lines belong to the same job.
            pool_of[host].submit(copy_context().run, task).add_done_callback(finished.put)
        waiting = len(tasks)
        while True:
            tick()  # also while nothing comes: whether the work is still wanted is learned here
            if not waiting:
                break
            for future in _take_finished(finished, waiting):
                waiting -= 1
                take(future.result())
    finally:
        # What is no longer wanted does not wait for a server that lets it wait.
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _take_finished(finished: "queue.SimpleQueue[Future[T]]", limit: int) -> list[Future[T]]:
    """Return what finishes by the next tick."""
    found: list[Future[T]] = []
    end = time.monotonic() + TICK_SECONDS
    while len(found) < limit and (left := end - time.monotonic()) > 0:
        try:
            found.append(finished.get(timeout=left))
        except queue.Empty:
            break
    return found
