"""Decode image files as browsers show them, encode them as JPEG, and process items in background threads."""

import io
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from PIL import Image

from app.images.colours import flatten
from app.images.formats import IMAGE_FORMATS
from app.images.orientation import find_turn, turn_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

# Exceptions for a file that is missing, is not an image, is truncated, or is a decompression bomb.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# A scan may need 500 MB while it is decoded, so each process decodes one at a time.
_DECODING = threading.Lock()


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


def read_size(file: BinaryIO) -> tuple[int, int]:
    """Return the upright (width, height) of an image from the head of its file."""
    with Image.open(file, formats=IMAGE_FORMATS) as image:
        return turn_size(image.size, find_turn(image))


def needs_turn(file: BinaryIO) -> bool:
    """Return whether a viewer turns an image before it shows it."""
    with Image.open(file, formats=IMAGE_FORMATS) as image:
        return find_turn(image) is not None


def decode_image(
    file: BinaryIO,
    least: int | None,
    side: Callable[[Sequence[int]], int] = max,
    formats: tuple[str, ...] = IMAGE_FORMATS,
) -> "tuple[NDArray[np.uint8], tuple[float, float]]":
    """Decode an image as an array. For the arguments and the size, see :func:`decode_picture`."""
    import numpy as np  # here, because the web process decodes images without it

    picture, size = decode_picture(file, least, side, formats)
    return np.asarray(picture), size


def decode_picture(
    file: BinaryIO,
    least: int | None = None,
    side: Callable[[Sequence[int]], int] = max,
    formats: tuple[str, ...] = IMAGE_FORMATS,
) -> tuple[Image.Image, tuple[float, float]]:
    """Decode an image as a browser shows it: upright, in RGB, on a white ground, and only its first frame.

    A JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8 of its size, which is several times faster. The decoder
    averages pixels. The detector scales without a filter and would skip pixels (bench/README.md, request size). After a
    reduced decode, the exact size may be fractional: the image may cover only a part of the last row and column.

    Args:
        file: Image file.
        least: Required length of one side, in pixels; None to decode every pixel.
        side: Side to which ``least`` applies: ``max`` for the longer one, ``min`` for the shorter one.
        formats: Accepted formats, by their names in Pillow.

    Returns:
        The image, and its exact (width, height) in pixels of the result.
    """
    with Image.open(file, formats=formats) as image:
        turn = find_turn(image)
        factor = min(1.0, least / side(image.size)) if least else 1.0
        drafted = image.draft("RGB", (max(1, round(image.width * factor)), max(1, round(image.height * factor))))
        picture = flatten(image)
    size = drafted[1][2:] if drafted and drafted[1] else picture.size
    if turn is None:
        return picture, size
    if size != picture.size:
        # A turn would move the partial row and column to the first place. Scale the image to whole pixels before.
        picture = picture.resize(picture.size, Image.Resampling.BILINEAR, (0, 0, *size))
    return picture.transpose(turn), turn_size(picture.size, turn)


def load_reduced(path: Path, longest: int) -> Image.Image:
    """Return an image in RGB, reduced to a longer side in pixels. A smaller image keeps its size.

    Raises:
        OSError, SyntaxError, ValueError, DecompressionBombError: The file is missing or damaged, see ``UNREADABLE``.
    """
    with _DECODING, path.open("rb") as file:
        picture, _ = decode_picture(file, longest)
        picture.thumbnail((longest, longest))
    return picture


def format_jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return content.getvalue()
