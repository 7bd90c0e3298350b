"""Decode image files at a reduced size, and process items in background threads while the caller works."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.images.formats import IMAGE_FORMATS

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def load_ahead(
    batches: Iterable[Sequence[Item]], load: Callable[[Item], Loaded], threads: int = 1
) -> Iterator[list[Loaded]]:
    """Yield the loaded items of each batch. While the caller works on one batch, threads load the next."""
    following = iter(batches)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as executor:
        ahead = deque([_submit(executor, load, item) for item in batch] for batch in islice(following, 1))
        while ahead:
            ready = [future.result() for future in ahead.popleft()]
            ahead.extend([_submit(executor, load, item) for item in batch] for batch in islice(following, 1))
            yield ready


def map_ahead(
    work: Callable[[Item], Loaded], items: Iterable[Item], threads: int, start: Callable[[], object] = bool
) -> Iterator[Loaded]:
    """Yield the result of each item, in order. Meanwhile, each thread works on one of the next items.

    Args:
        work: Function that computes the result of one item.
        items: Items to work on.
        threads: Number of threads.
        start: Function that each thread calls once, before its first item.
    """
    following = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead", initializer=start) as executor:
        ahead = deque(_submit(executor, work, item) for item in islice(following, threads))
        try:
            while ahead:
                result = ahead.popleft().result()
                ahead.extend(_submit(executor, work, item) for item in islice(following, 1))
                yield result
        finally:
            for future in ahead:
                future.cancel()


def _submit(executor: ThreadPoolExecutor, work: Callable[[Item], Loaded], item: Item) -> Future[Loaded]:
    # In a copy of the context of this thread, so its log lines name the same job.
    return executor.submit(copy_context().run, work, item)


def decode_image(
    file: BinaryIO,
    least: int | None,
    side: Callable[[Sequence[int]], int] = max,
    formats: tuple[str, ...] = IMAGE_FORMATS,
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Decode an image as RGB. Return the array, and the exact (width, height) of the image in pixels of the array.

    A JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8 of its size, which is several times faster. The decoder
    averages pixels. The detector scales without a filter and would skip pixels (bench/README.md, request size). After a
    reduced decode, the exact size may be fractional: the image may cover only a part of the last row and column.

    Args:
        file: Image file.
        least: Required length of one side, in pixels; None to decode every pixel.
        side: Side to which ``least`` applies: ``max`` for the longer one, ``min`` for the shorter one.
        formats: Accepted formats, by their names in Pillow.
    """
    with Image.open(file, formats=formats) as image:
        factor = min(1.0, least / side(image.size)) if least else 1.0
        drafted = image.draft("RGB", (round(image.width * factor), round(image.height * factor)))
        size = drafted[1][2:] if drafted and drafted[1] else image.size
        return np.asarray(_reduce_depth(image).convert("RGB")), size


def _reduce_depth(image: Image.Image) -> Image.Image:
    """Convert 16 or 32 bits per pixel to 8, so that the lightest pixel becomes 255. Pillow would clip larger values."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, dtype=np.float32)
    lightest = float(np.max(values, initial=0))
    return Image.fromarray((values.clip(0) * (255 / lightest if lightest > 0 else 1)).astype(np.uint8))
