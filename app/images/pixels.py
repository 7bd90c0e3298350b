"""Image files → pixels: no more of them than are needed, and ahead of whoever looks at them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    """Yield what is loaded of each item of a batch; meanwhile the next batch is loaded by some threads."""
    following = iter(batches)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as executor:
        ahead = deque([executor.submit(load, item) for item in batch] for batch in islice(following, 1))
        while ahead:
            ready = [future.result() for future in ahead.popleft()]
            ahead.extend([executor.submit(load, item) for item in batch] for batch in islice(following, 1))
            yield ready


def decode_image(
    file: BinaryIO,
    least: int | None,
    side: Callable[[Sequence[int]], int] = max,
    formats: tuple[str, ...] = IMAGE_FORMATS,
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Return the pixels of an image and the (width, height) of the image in them.

    After a reduced decode the last of them may stand for a part of a pixel only.

    A JPEG much larger than needed is decoded at a half, a quarter or an eighth: several times faster, and nothing is
    passed over, as it would be by the detector's own scaling, which has no filter (bench/README.md, request size).

    Args:
        file: The image file.
        least: Length of a side that is needed, in pixels; None for every pixel.
        side: Which: the longer one, or ``min`` for the shorter.
        formats: Of files that are read.
    """
    with Image.open(file, formats=formats) as image:
        factor = min(1.0, least / side(image.size)) if least else 1.0
        drafted = image.draft("RGB", (round(image.width * factor), round(image.height * factor)))
        size = drafted[1][2:] if drafted and drafted[1] else image.size
        return np.asarray(_reduce_depth(image).convert("RGB")), size


def _reduce_depth(image: Image.Image) -> Image.Image:
    """Return an image of 16 or 32 bits a pixel in 8, scaled to its lightest: Pillow would cut off all above 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, dtype=np.float32)
    lightest = float(np.max(values, initial=0))
    return Image.fromarray((values.clip(0) * (255 / lightest if lightest > 0 else 1)).astype(np.uint8))
