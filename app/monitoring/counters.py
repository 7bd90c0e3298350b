"""Counters that every process adds to and ``/metrics`` reads: kept on the broker, for the workers are many processes.

A counter never fails a job, and delays it by one time-out at most. While the broker is away, nothing is counted. When
it loses its data, counters start again at 0, which Prometheus expects of any counter.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis, RedisError

# Counters: pages, images and pairs of documents by result; bytes and answers by host. A reading: the GPU's memory by
# "device kind".
PAGES, IMAGES, PAIRS, BYTES, ANSWERS, GPU_MEMORY = "pages", "images", "pairs", "bytes", "answers", "gpu_memory"

PREFIX = "extractor:meter:"
# After an error the broker is left alone for so long.
PAUSE_SECONDS = 10.0
# Hosts are named by client apps: a counter that gets more labels than this starts again.
MOST_LABELS = 10_000


class Counters:
    """Counters with one label each, and readings.

    Args:
        broker: A connection with short time-outs.
    """

    def __init__(self, broker: Redis) -> None:
        self._broker = broker
        self._paused_until = 0.0

    def add(self, name: str, label: str, amount: int = 1) -> None:
        """Add to a counter."""
        self._try(lambda: self._add(PREFIX + name, label, amount))

    def set_gauge(self, name: str, values: Mapping[str, int], seconds: int) -> None:
        """Replace a reading, which expires unless it is renewed within some seconds."""
        self._try(lambda: self._replace(PREFIX + name, dict(values), seconds))

    def read(self, name: str) -> dict[str, int]:
        """Return a counter or a reading, by label.

        Raises:
            RedisError: The broker does not answer.
        """
        values: Any = self._broker.hgetall(PREFIX + name)
        return {label.decode(): int(value) for label, value in values.items()}

    def _add(self, key: str, label: str, amount: int) -> None:
        label_is_new = self._broker.hincrby(key, label, amount) == amount
        if label_is_new and self._broker.hlen(key) > MOST_LABELS:
            self._broker.delete(key)

    def _replace(self, key: str, values: dict[Any, Any], seconds: int) -> None:
        with self._broker.pipeline() as pipeline:
            pipeline.delete(key)
            pipeline.hset(key, mapping=values)
            pipeline.expire(key, seconds)
            pipeline.execute()

    def _try(self, write: Callable[[], None]) -> None:
        if time.monotonic() < self._paused_until:
            return
        try:
            write()
        except RedisError:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
