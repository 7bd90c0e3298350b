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


def count_streams(streams: int, device: torch.device) -> int:
    """Return a number of streams; for 0, one for each core, or one on a GPU."""
    return streams or (count_cores() if device.type == "cpu" else 1)


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def split(items: Sequence[Item], size: int, streams: int) -> list[Sequence[Item]]:
    """Split items into batches of at most ``size``. A few items make smaller batches, so that every stream gets one."""
    size = max(1, min(size, math.ceil(len(items) / streams)))
    return [items[start : start + size] for start in range(0, len(items), size)]


def run_in_streams(
    work: Callable[[Item], Result], items: Iterable[Item], streams: int, device: torch.device
) -> Iterator[Result]:
    """Yield the result of each item, in order. Meanwhile, other threads work on the next items.

    Args:
        work: Function that computes the result of one item, usually a batch of images.
        items: Items to work on.
        streams: Number of streams.
        device: Device of the network.
    """
    if device.type != "cpu":
        yield from map_ahead(work, items, streams + DECODERS)
    elif streams == 1:
        yield from map_ahead(work, items, 1)
    else:
        before = torch.get_num_threads()
        try:
            yield from map_ahead(work, items, streams, partial(torch.set_num_threads, 1))
        finally:
            torch.set_num_threads(before)
