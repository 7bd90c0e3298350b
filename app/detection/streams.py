"""Streams: threads that compute at the same time, each on its own batch.

On a CPU, each stream computes with one thread. If torch divided each operation among threads, all would wait for the
slowest one after every step. When other processes use the same cores, this loses most of the speed.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from app.images.pixels import map_ahead

Item = TypeVar("Item")
Result = TypeVar("Result")

# Additional threads on a GPU. They decode the next batches while the GPU computes.
DECODERS = 3


def choose_device(device: str) -> torch.device:
    """Return a device by name; for "", the GPU if there is one, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


class StreamedNetwork:
    """Base class of networks that compute several batches at the same time, each in a thread of its own.

    Args:
        device: Device of the network.
        streams: Number of streams; 0 for one per core, or one on a GPU.
        batch_size: Largest number of images in a batch.
    """

    def __init__(self, device: torch.device, streams: int, batch_size: int) -> None:
        self.device = device
        self.streams = streams or (count_cores() if device.type == "cpu" else 1)
        self._batch_size = batch_size

    def split(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Split items into batches for :meth:`run`. A few items make smaller batches, so that every stream gets one."""
        size = max(1, min(self._batch_size, math.ceil(len(items) / self.streams)))
        return [items[start : start + size] for start in range(0, len(items), size)]

    def run(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the result of each item, in order. Meanwhile, other threads work on the next items.

        Args:
            work: Function that computes the result of one item, usually a batch of images, with this network.
            items: Items to work on.
        """
        if self.device.type != "cpu":
            yield from map_ahead(work, items, self.streams + DECODERS)
        elif self.streams == 1:
            yield from map_ahead(work, items, 1)
        else:
            before = torch.get_num_threads()
            try:
                yield from map_ahead(work, items, self.streams, partial(torch.set_num_threads, 1))
            finally:
                torch.set_num_threads(before)
