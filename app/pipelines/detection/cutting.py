"""Cut pages into the parts that the detector gets, and merge the detections of the parts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.detection.boxes import Detections
from app.detection.parts import Grid, PartBox, choose_grid, choose_side
from app.detection.seams import merge
from app.jobs.requests import DetectionRequest
from app.pipelines.detection.pages import FetchedPage, PageImage, decode_page

Pixels = NDArray[np.uint8]

# Number of full forward passes after which a batch gets no further page: its pixels are in memory at the same time.
MOST_PASSES = 4


@dataclass(frozen=True)
class Part:
    """A part of a page: its corners ``x1 y1 x2 y2`` in pixels of the page, and its own pixels, possibly reduced."""

    box: PartBox
    pixels: Pixels

    def place(self, found: Detections) -> Detections:
        """Scale detections from the pixels of the part to those of the page."""
        left, top, right, bottom = self.box
        return found.scaled((self.pixels.shape[1], self.pixels.shape[0]), (right - left, bottom - top))


@dataclass(frozen=True)
class CutPage:
    """A page and its parts; none if its image is missing."""

    image: PageImage
    parts: tuple[Part, ...]

    def merge(self, found: Sequence[Detections], iou: float) -> Detections | None:
        """Merge the detections of the parts; None if the image is missing.

        Args:
            found: Detections of each part, in its pixels.
            iou: IoU threshold of NMS.
        """
        if self.image.pixels is None:
            return None
        if len(self.parts) == 1:
            return found[0]
        height, width = self.image.pixels.shape[:2]
        placed = [part.place(each) for part, each in zip(self.parts, found, strict=True)]
        return merge([part.box for part in self.parts], placed, (width, height), iou)


class PageCutter:
    """Loads the pages of a job and cuts them.

    Args:
        request: Detection request.
        size: Longer side of the network's input, in pixels.
    """

    def __init__(self, request: DetectionRequest, size: int) -> None:
        self._size = size
        self._side = choose_side(request.tiles, size)
        self._is_full = request.image_size == "full"

    def split(self, batches: Iterable[Sequence[FetchedPage]], batch_size: int) -> Iterator[list[FetchedPage]]:
        """Split the batches that have too many parts."""
        for pages in batches:
            batch: list[FetchedPage] = []
            parts = 0
            for page in pages:
                batch.append(page)
                parts += choose_grid(*_read_size(page), self._side).count
                if parts >= MOST_PASSES * batch_size:
                    yield batch
                    batch, parts = [], 0
            if batch:
                yield batch

    def load(self, images: Path, page: FetchedPage) -> CutPage:
        """Decode the image of a page and cut it.

        A page that only ``tiles`` cuts is also detected as without ``tiles``: its illustrations may be larger than a
        part.
        """
        full = _read_size(page)
        fine, coarse = choose_grid(*full, self._side), choose_grid(*full)
        least = None if self._is_full else fine.choose_longest(self._size, *full)
        image = decode_page(images, page, least)
        if image.pixels is None:
            return CutPage(image, ())
        parts = _cut(image.pixels, image.pixels, fine)
        if fine != coarse:
            height, width = image.pixels.shape[:2]
            parts += _cut(image.pixels, _reduce(image.pixels, coarse.choose_longest(self._size, width, height)), coarse)
        return CutPage(image, tuple(parts))


def _read_size(page: FetchedPage) -> tuple[int, int]:
    return page.width or 1, page.height or 1  # a page without a size has no image either


def _cut(page: Pixels, pixels: Pixels, grid: Grid) -> list[Part]:
    """Cut a page from the pixels of a copy, which may be reduced."""
    boxes, places = (grid.cut(array.shape[1], array.shape[0]) for array in (page, pixels))
    return [
        Part(box, pixels[top:bottom, left:right]) for box, (left, top, right, bottom) in zip(boxes, places, strict=True)
    ]


def _reduce(pixels: Pixels, longest: int) -> Pixels:
    """Reduce an image by averaging pixels. The detector scales without a filter and would skip pixels."""
    height, width = pixels.shape[:2]
    factor = min(1.0, longest / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
