"""The pixels of fetched pages, decoded a batch ahead of the detector and no larger than it can use."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.images.pixels import decode_image, load_ahead
from app.pipelines.detection.page_records import FetchedPage
from app.pipelines.image_cache import forget


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


def load_page_image(images: Path, page: FetchedPage, least: int | None) -> PageImage:
    """Decode the image of a page. One that is gone from the cache or damaged there has no pixels, and is forgotten."""
    path = images / str(page.file)
    try:
        with path.open("rb") as file:
            return PageImage(page, *decode_image(file, least))
    except (OSError, SyntaxError, ValueError):
        forget(path)
        return PageImage(page)
