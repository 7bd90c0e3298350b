"""The verification of pairs of images: the records, and the compact file that holds those of two documents.

This module does not import numpy, because the web process uses it.
"""

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

MAGIC = b"verified 1\n"
# Indices, verdict, probability, inliers, two regions, transform; little-endian, 77 bytes.
_ROW = struct.Struct("<iiBfi4i4i6f")
ROW_BYTES = _ROW.size
_VERDICT_OFFSET = 8


class Verdict(StrEnum):
    """Whether two images show the same printing block.

    ``same``: most of both. ``part``: a region of one or both. ``copy?``: the design is the same, but the lines do not
    coincide. ``none``: no relation was found.
    """

    SAME = "same"
    PART = "part"
    COPY = "copy?"
    NONE = "none"


_VERDICTS = tuple(Verdict)
# Verdicts of pairs that show the same block, and of those that show the same design.
SAME_BLOCK = (Verdict.SAME, Verdict.PART)
RELATED = (*SAME_BLOCK, Verdict.COPY)
# ``xywh`` in pixels.
Region = tuple[int, int, int, int]
# (width, height) in pixels.
Size = Sequence[int]


@dataclass(frozen=True)
class Verification:
    """The result of verifying a pair of images.

    Attributes:
        verdict: Relation of the two images.
        probability: Calibrated probability that the block is the same, 0 to 1.
        inliers: Number of matched local features that agree with the transform.
        region_1, region_2: Matched region on each image, ``xywh`` in pixels of the image file; None without one.
        transform: Affine transform from pixels of the first image to pixels of the second, row by row
            ``(a, b, tx, c, d, ty)``; None without one. A negative determinant means mirrored.
    """

    verdict: Verdict
    probability: float = 0.0
    inliers: int = 0
    region_1: Region | None = None
    region_2: Region | None = None
    transform: tuple[float, ...] | None = None


@dataclass(frozen=True)
class VerifiedPair:
    """A verified pair of images.

    Attributes:
        first, second: Indices of the images in the two documents, as in the score file.
        verification: Result.
    """

    first: int
    second: int
    verification: Verification


def unpack_verified(data: bytes, verdicts: Collection[Verdict] = tuple(Verdict)) -> list[VerifiedPair]:
    """Parse the content of a file: ``MAGIC``, then a row per pair. An incomplete last row is ignored.

    Args:
        data: Content of the file.
        verdicts: Verdicts of the wanted pairs. Most pairs have the verdict ``none``; without them it is much faster.
    """
    body = memoryview(data)[len(MAGIC) :]
    wanted = {_VERDICTS.index(verdict) for verdict in verdicts}
    return [
        _unpack_row(_ROW.unpack_from(body, place * ROW_BYTES))
        for place, code in enumerate(_read_codes(body))
        if code in wanted
    ]


def count_verified(data: bytes, verdicts: Collection[Verdict]) -> int:
    """Return the number of pairs with some verdicts in the content of a file, without reading the pairs."""
    codes = _read_codes(memoryview(data)[len(MAGIC) :])
    return sum(codes.count(_VERDICTS.index(verdict)) for verdict in verdicts)


def _read_codes(body: memoryview) -> bytes:
    """Return the code of the verdict of each complete row."""
    return bytes(body[_VERDICT_OFFSET::ROW_BYTES])[: len(body) // ROW_BYTES]


def enlarge(pair: VerifiedPair, sizes: Sequence[Size], file_sizes: Sequence[Size]) -> VerifiedPair:
    """Return a pair whose regions and transform are in pixels of the full-size images.

    Args:
        pair: Pair in pixels of the image files.
        sizes: (width, height) of the two full-size images.
        file_sizes: (width, height) of the two image files.
    """
    found = pair.verification
    if found.transform is None or found.region_1 is None or found.region_2 is None:
        return pair
    (ax, ay), (bx, by) = ((full[0] / file[0], full[1] / file[1]) for full, file in zip(sizes, file_sizes, strict=True))
    a, b, x, c, d, y = found.transform
    return replace(
        pair,
        verification=replace(
            found,
            region_1=_enlarge_region(found.region_1, ax, ay, sizes[0]),
            region_2=_enlarge_region(found.region_2, bx, by, sizes[1]),
            transform=(a * bx / ax, b * bx / ay, x * bx, c * by / ax, d * by / ay, y * by),
        ),
    )


def _enlarge_region(region: Region, horizontal: float, vertical: float, size: Size) -> Region:
    x, y, w, h = region
    left, top = min(round(x * horizontal), size[0] - 1), min(round(y * vertical), size[1] - 1)
    right, bottom = min(round((x + w) * horizontal), size[0]), min(round((y + h) * vertical), size[1])
    return left, top, max(1, right - left), max(1, bottom - top)


def pack_row(pair: VerifiedPair) -> bytes:
    """Return the row of a pair, to append it to a file that begins with ``MAGIC``."""
    found = pair.verification
    return _ROW.pack(
        pair.first,
        pair.second,
        _VERDICTS.index(found.verdict),
        found.probability,
        found.inliers,
        *(found.region_1 or (0, 0, 0, 0)),
        *(found.region_2 or (0, 0, 0, 0)),
        *(found.transform or (0.0,) * 6),
    )


def _unpack_row(row: tuple[Any, ...]) -> VerifiedPair:
    first, second, verdict, probability, inliers, *rest = row
    x1, y1, w1, h1, x2, y2, w2, h2, *transform = rest
    found = Verification(_VERDICTS[verdict], probability, inliers)
    if w1:
        found = replace(found, region_1=(x1, y1, w1, h1), region_2=(x2, y2, w2, h2), transform=tuple(transform))
    return VerifiedPair(first, second, found)
