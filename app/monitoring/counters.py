"""Counters that every process adds to and ``/metrics`` reads: kept on the broker, for the workers are many processes.

A counter must never fail or delay a job: counts are gathered in memory and written by a thread once a second. While the
broker is away they wait; when it loses its data they begin anew, which Prometheus knows of any counter. A process that
is killed takes up to a second's counts with it.

When the answer to a write is lost, nobody knows whether it was done: the same batch is written again under the same
number, and the broker adds it once.
"""

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
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

# Adds a batch to its counters and to their present window, unless the last number of its writer says that it was added.
_ADD = """
if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return end
redis.call('SET', KEYS[1], ARGV[1], 'EX', 86400)
for i = 5, #ARGV, 3 do
    local name, label, amount = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local window = name .. ':' .. ARGV[2]
    redis.call('HINCRBY', name, label, amount)
    redis.call('HINCRBY', window, label, amount)
    redis.call('EXPIRE', window, ARGV[3])
    if redis.call('HLEN', name) > tonumber(ARGV[4]) then redis.call('DEL', name) end
end
"""


@dataclass(frozen=True)
class _Batch:
    """What is written at once; later batches have larger numbers."""

    number: int
    counts: Mapping[tuple[str, str], int]


class Meter:
    """Counters with one label each, and readings.

    Args:
        broker: With short timeouts.
    """

    def __init__(self, broker: Redis) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._pending: Counter[tuple[str, str]] = Counter()
        self._writing = threading.Lock()
        self._writer = f"{PREFIX}writer:{uuid.uuid4().hex}"
        self._numbers = itertools.count(1)
        self._unsure: _Batch | None = None
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
        with self._writing:
            try:
                self._write()
                self._unsure = self._take()
                self._write()
            except RedisError:
                with self._lock:
                    self._schedule()

    def _take(self) -> _Batch:
        with self._lock:
            counts, self._pending, self._timer = self._pending, Counter(), None
        return _Batch(next(self._numbers), counts)

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(FLUSH_SECONDS, self.flush)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # no thread can be started: the process is at its end, or the machine is
                self._timer = None

    def _write(self) -> None:
        """Write the batch of which it is not sure that it was written."""
        if self._unsure and self._unsure.counts:
            window = int(time.time()) // WINDOW_SECONDS
            values: list[int | str] = [self._unsure.number, window, (WINDOWS + 2) * WINDOW_SECONDS, MOST_LABELS]
            for (name, label), amount in self._unsure.counts.items():
                values += [PREFIX + name, label, amount]
            self._broker.eval(_ADD, 1, self._writer, *values)
        self._unsure = None


def _name_window(name: str, window: int) -> str:
    return f"{PREFIX}{name}:{window}"


def _decode(values: Any) -> dict[str, int]:
    return {label.decode(): int(value) for label, value in values.items()}
