"""Counters and gauges for ``/metrics``. They are stored on the broker, because every process adds to them.

Counting never fails a job, and delays it by one time-out at most. Nothing is counted while the broker is down. When the
broker loses its data, counters restart at 0, which Prometheus supports.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis, RedisError

# Counters of pages, images, pairs of documents and pairs of images are labelled by status. Those of bytes and answers
# are labelled by host, and the gauge of the GPU's memory "device kind".
PAGES, IMAGES, PAIRS, IMAGE_PAIRS = "pages", "images", "pairs", "image_pairs"
BYTES, ANSWERS, GPU_MEMORY = "bytes", "answers", "gpu_memory"

PREFIX = "extractor:meter:"
# Seconds without writes after an error of the broker.
PAUSE_SECONDS = 10.0
# Limit of labels, because client apps choose the hosts. A counter that exceeds it restarts at 0.
MOST_LABELS = 10_000


class Counters:
    """Counters and gauges with one label each.

    Args:
        broker: Connection with short time-outs.
    """

    def __init__(self, broker: Redis) -> None:
        self._broker = broker
        self._paused_until = 0.0

    def add(self, name: str, label: str, amount: int = 1) -> None:
        """Add an amount to a counter."""
        self.add_each(label, {name: amount})

    def add_each(self, label: str, amounts: Mapping[str, int]) -> None:
        """Add an amount to each of some counters, in one request to the broker."""
        self._try(lambda: self._add(label, amounts))

    def set_gauge(self, name: str, values: Mapping[str, int], seconds: int) -> None:
        """Set the values of a gauge by label. They expire after some seconds."""
        self._try(lambda: self._replace(PREFIX + name, dict(values), seconds))

    def read(self, name: str) -> dict[str, int]:
        """Return the values of a counter or gauge by label.

        Raises:
            RedisError: The broker does not answer.
        """
        values: Any = self._broker.hgetall(PREFIX + name)
        return {label.decode(): int(value) for label, value in values.items()}

    def _add(self, label: str, amounts: Mapping[str, int]) -> None:
        with self._broker.pipeline(transaction=False) as pipeline:
            for name, amount in amounts.items():
                pipeline.hincrby(PREFIX + name, label, amount)
            totals = pipeline.execute()
        for (name, amount), total in zip(amounts.items(), totals, strict=True):
            if total == amount and self._broker.hlen(PREFIX + name) > MOST_LABELS:  # the label is new
                self._broker.delete(PREFIX + name)

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
