"""Run tasks for many hosts at once. Each host has its own thread pool, so a slow host does not delay the others."""

import queue
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import cycle
from typing import TypeVar

from app.iiif.hosts import HostRules

# Interval at which a download reports its progress, and stops if the job was cancelled.
TICK_SECONDS = 0.5
# With more hosts, some share a pool.
MOST_POOLS = 8

T = TypeVar("T")


def run_by_host(
    tasks: Iterable[tuple[str, Callable[[], T]]], rules: HostRules, take: Callable[[T], None], tick: Callable[[], None]
) -> None:
    """Run tasks in the thread pools of their hosts, and pass each result to ``take`` in the calling thread.

    Args:
        tasks: Pairs of host and task. An exception in a task stops all tasks.
        rules: Rules of the hosts. A pool has as many threads as its host allows connections.
        take: Called with each result.
        tick: Called twice a second and at the end; raises to stop.
    """
    tasks = list(tasks)
    hosts = sorted({host for host, _ in tasks})
    shares = [hosts[start::MOST_POOLS] for start in range(min(len(hosts), MOST_POOLS))]
    numbers = [max(rules.find(host).connections for host in share) for share in shares]
    pools = [ThreadPoolExecutor(number, thread_name_prefix="fetch") for number in numbers]
    pool_of = dict(zip(hosts, cycle(pools), strict=False))
    finished: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    try:
        for host, task in tasks:
            # Each task runs in a copy of the context of this thread, so its log lines name the same job.
            pool_of[host].submit(copy_context().run, task).add_done_callback(finished.put)
        waiting = len(tasks)
        while True:
            tick()  # even if no task has finished: this call raises if the job was cancelled
            if not waiting:
                break
            for future in _take_finished(finished, waiting):
                waiting -= 1
                take(future.result())
    finally:
        # A cancelled job does not wait for a slow server.
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _take_finished(finished: "queue.SimpleQueue[Future[T]]", limit: int) -> list[Future[T]]:
    """Return the tasks that finish before the next tick."""
    found: list[Future[T]] = []
    end = time.monotonic() + TICK_SECONDS
    while len(found) < limit and (left := end - time.monotonic()) > 0:
        try:
            found.append(finished.get(timeout=left))
        except queue.Empty:
            break
    return found
