"""The pixels of fetched pages, decoded a batch ahead of the detector and no larger than it can use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.iiif.image_file import IMAGE_FORMATS
from app.pipelines.image_cache import forget
from app.pipelines.pages import FetchedPage

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class PageImage:
    """A page with its pixels.

    Attributes:
        page: What was fetched.
        pixels: RGB ``(height, width, 3)`` uint8; None when the file is gone from the cache.
        size: (width, height) of the image in these pixels. After a reduced decode the last of them may stand for a
            part of a pixel only.
    """

    page: FetchedPage
    pixels: NDArray[np.uint8] | None = None
    size: tuple[float, float] = (0.0, 0.0)


def load_batches(
    images: Path, pages: list[FetchedPage], batch_size: int, least: int | None
) -> Iterator[list[PageImage]]:
    """Yield pages with their pixels; the next batch is decoded while the present one is looked at.

    Args:
        images: The folder of the cached images.
        pages: With a file each.
        batch_size: Pages a batch.
        least: The longer side that is needed, in pixels; None for every pixel.
    """
    batches = (pages[start : start + batch_size] for start in range(0, len(pages), batch_size))
    return load_ahead(batches, lambda page: load_page_image(images, page, least))


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


def load_page_image(images: Path, page: FetchedPage, least: int | None) -> PageImage:
    """Decode the image of a page. One that is gone from the cache or damaged there has no pixels, and is forgotten."""
    path = images / str(page.file)
    try:
        with path.open("rb") as file:
            return PageImage(page, *decode_image(file, least))
    except (OSError, SyntaxError, ValueError):
        forget(path)
        return PageImage(page)


def decode_image(
    file: BinaryIO, least: int | None, side: Callable[[Sequence[int]], int] = max
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Return the pixels of an image and the (width, height) of the image in them, as :class:`PageImage` has them.

    A JPEG much larger than needed is decoded at a half, a quarter or an eighth: several times faster, and nothing is
    passed over, as it would be by the detector's own scaling, which has no filter (bench/README.md, request size).

    Args:
        file: The image file.
        least: Length of a side that is needed, in pixels; None for every pixel.
        side: Which: the longer one, or ``min`` for the shorter.
    """
    with Image.open(file, formats=IMAGE_FORMATS) as image:
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
