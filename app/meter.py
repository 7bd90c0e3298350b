"""Counters that every process adds to and ``/metrics`` reads: kept on the broker, for the workers are many processes.

A counter must never fail or delay a job: counts are gathered in memory and written by a thread once a second. While the
broker is away they wait; when it loses its data they begin anew, which Prometheus knows of any counter. A process that
is killed takes up to a second's counts with it.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from redis import Redis, RedisError

# Counters: pages, images and pairs of documents by what came of them; bytes and answers by host. A reading: the GPU's
# memory by «device kind».
PAGES, IMAGES, PAIRS, BYTES, ANSWERS, GPU_MEMORY = "pages", "images", "pairs", "bytes", "answers", "gpu_memory"

PREFIX = "extractor:meter:"
FLUSH_SECONDS = 1.0
# Rates are of the last minute, counted in windows of ten seconds.
WINDOW_SECONDS = 10
WINDOWS = 6
# Hosts are named by client apps: a counter with more labels than this is begun anew.
MOST_LABELS = 10_000


class Meter:
    """Counters with one label each, and readings.

    Args:
        broker: With short timeouts.
    """

    def __init__(self, broker: Redis) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._pending: Counter[tuple[str, str]] = Counter()
        self._timer: threading.Timer | None = None

    def add(self, name: str, label: str, amount: int = 1) -> None:
        """Add to a counter. Does not wait, and never fails."""
        with self._lock:
            self._pending[name, label] += amount
            self._schedule()

    def show(self, name: str, values: Mapping[str, int], seconds: int) -> None:
        """Replace a reading, which is forgotten when it is not renewed within some seconds."""
        fields: dict[Any, Any] = dict(values)
        with suppress(RedisError), self._broker.pipeline() as pipeline:
            pipeline.delete(PREFIX + name)
            pipeline.hset(PREFIX + name, mapping=fields)
            pipeline.expire(PREFIX + name, seconds)
            pipeline.execute()

    def read(self, name: str) -> dict[str, int]:
        """Return a counter or a reading, by label.

        Raises:
            RedisError: The broker does not answer.
        """
        return _decode(self._broker.hgetall(PREFIX + name))

    def read_rates(self, name: str) -> dict[str, float]:
        """Return what was added to a counter in the last minute, a second, by label.

        Raises:
            RedisError: The broker does not answer.
        """
        now = int(time.time()) // WINDOW_SECONDS
        total: Counter[str] = Counter()
        with self._broker.pipeline() as pipeline:
            for window in range(now - WINDOWS, now):  # the present one is not over
                pipeline.hgetall(_name_window(name, window))
            for counts in pipeline.execute():
                total.update(_decode(counts))
        return {label: count / (WINDOWS * WINDOW_SECONDS) for label, count in total.items()}

    def flush(self) -> None:
        """Write what has been counted; what cannot be written waits for another time."""
        with self._lock:
            pending, self._pending, self._timer = self._pending, Counter(), None
        try:
            self._write(pending)
        except RedisError:
            with self._lock:
                self._pending.update(pending)
                self._schedule()

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(FLUSH_SECONDS, self.flush)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # no thread can be started: the process is at its end, or the machine is
                self._timer = None

    def _write(self, counts: Counter[tuple[str, str]]) -> None:
        window = int(time.time()) // WINDOW_SECONDS
        names = sorted({name for name, _ in counts})
        with self._broker.pipeline() as pipeline:
            for (name, label), amount in counts.items():
                pipeline.hincrby(PREFIX + name, label, amount)
                pipeline.hincrby(_name_window(name, window), label, amount)
            for name in names:
                pipeline.expire(_name_window(name, window), (WINDOWS + 2) * WINDOW_SECONDS)
            pipeline.execute()
        for name in names:
            if self._broker.hlen(PREFIX + name) > MOST_LABELS:
                self._broker.delete(PREFIX + name)


def _name_window(name: str, window: int) -> str:
    return f"{PREFIX}{name}:{window}"


def _decode(values: Any) -> dict[str, int]:
    return {label.decode(): int(value) for label, value in values.items()}
