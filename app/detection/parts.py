"""Cut pages that the network would see too small into overlapping parts, and choose the image size that this needs.

==========================  =================================================================================
page                        parts
==========================  =================================================================================
more than ``LONG_PAGE``     always, along the longer side, with the proportions ``PART_SHAPE``
times as long as wide
larger than a sheet side    with ``tiles=auto``, so that the network sees a part at 1/``REDUCTION`` or more of
                            the full size; in addition, the page is detected as without ``tiles``
other                       one
==========================  =================================================================================

A part is detected like a page. The image is requested in the size in which a part has the pixels of a page.
``seams`` merges the detections of the parts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from app.images.formats import LONGEST_JPEG_SIDE, MAX_IMAGE_PIXELS

# Proportions (longer to shorter side) from which a page is cut, and those of its parts. The training pages have 1.1 to
# 1.9, and openings of square books have 2. Longer parts show the illustrations of a panorama too small.
LONG_PAGE = 2.2
PART_SHAPE = 1.25
# Overlap of neighbours as a fraction of a part. In a part that is as wide as a page, this is 0.42 page widths: 86 % of
# the illustrations of the training pages are not higher. ``seams`` joins the others.
OVERLAP = 1 / 3
REDUCTION = 3
# Limit of the time and memory for a page. The Bayeux tapestry, 140 times as long as high, has 168 parts.
MOST_PARTS = 200

PartBox = tuple[int, int, int, int]  # corners ``x1 y1 x2 y2`` in pixels


@dataclass(frozen=True)
class Grid:
    """Number of parts of a page, across and down."""

    columns: int = 1
    rows: int = 1

    @property
    def count(self) -> int:
        return self.columns * self.rows

    def choose_longest(self, longest: int, width: int, height: int) -> int:
        """Return the longer side of the page in which the longer side of a part has ``longest`` pixels.

        The result respects the limits of JPEG and of this service.
        """
        if self.count == 1:
            return longest
        longer = max(width, height)
        part = max(_divide(width, self.columns), _divide(height, self.rows))
        largest = math.isqrt(MAX_IMAGE_PIXELS * longer // min(width, height))
        return min(math.ceil(longest * longer / part), largest, LONGEST_JPEG_SIDE)

    def cut(self, width: int, height: int) -> list[PartBox]:
        """Return the parts as ``x1 y1 x2 y2``, in pixels of an image of this size."""
        columns, rows = _cut_side(width, self.columns), _cut_side(height, self.rows)
        return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]


# Chooses the parts of a page by the (width, height) of its full-size image.
ChooseGrid = Callable[[int, int], Grid]


def choose_side(tiles: str, size: int) -> int | None:
    """Return the longest side of a part in pixels of the full-size image; None to cut only long pages.

    Args:
        tiles: Field ``tiles`` of the request.
        size: Longer side of the network's input, in pixels.
    """
    return REDUCTION * size if tiles == "auto" else None


def choose_grid(width: int, height: int, side: int | None = None) -> Grid:
    """Choose the parts of a page.

    Args:
        width, height: Size of the full-size image, in pixels.
        side: Longest side of a part in these pixels; None to cut only long pages.
    """
    longer, shorter = max(width, height), min(width, height)
    limit = float(side or longer)
    is_long = longer > LONG_PAGE * shorter
    while True:
        across = _count(shorter, limit)
        along = _count(longer, min(limit, PART_SHAPE * _divide(shorter, across)) if is_long else limit)
        if across * along <= MOST_PARTS or across == 1:
            along = min(along, MOST_PARTS)
            return Grid(along, across) if width > height else Grid(across, along)
        limit *= 1.1


def _count(length: int, limit: float) -> int:
    """Return the number of overlapping parts of at most ``limit`` pixels that cover a side."""
    return 1 if length <= limit else 1 + math.ceil((length / limit - 1) / (1 - OVERLAP))


def _divide(length: int, count: int) -> float:
    """Return the length of each of the overlapping parts of a side."""
    return length / (1 + (count - 1) * (1 - OVERLAP))


def _cut_side(length: int, count: int) -> list[tuple[int, int]]:
    part = min(length, math.ceil(_divide(length, count)))
    starts = [round(number * (length - part) / max(1, count - 1)) for number in range(count)]
    return [(start, start + part) for start in starts]
