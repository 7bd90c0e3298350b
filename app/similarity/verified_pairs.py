"""The verification of pairs of images: the records, and the compact file that holds those of two documents.

This module does not import numpy, because the web process uses it.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_MAGIC = b"verified 1\n"
# Indices, verdict, probability, inliers, two regions, transform; little-endian, 77 bytes.
_ROW = struct.Struct("<iiBfi4i4i6f")


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
# ``xywh`` in pixels of the image file.
Region = tuple[int, int, int, int]


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


def pack_verified(pairs: Iterable[VerifiedPair]) -> bytes:
    """Return the content of a file with verified pairs: 77 bytes for each."""
    return _MAGIC + b"".join(map(_pack_row, pairs))


def unpack_verified(data: bytes) -> list[VerifiedPair]:
    """Parse the content of a file written by :func:`pack_verified`. An incomplete last row is ignored."""
    body = memoryview(data)[len(_MAGIC) :]
    return [_unpack_row(row) for row in _ROW.iter_unpack(body[: len(body) - len(body) % _ROW.size])]


def _pack_row(pair: VerifiedPair) -> bytes:
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


def _unpack_row(row: tuple[float, ...]) -> VerifiedPair:
    first, second, verdict, probability, inliers, *rest = row
    one, two, transform = (tuple(map(int, rest[:4])), tuple(map(int, rest[4:8])), tuple(rest[8:]))
    has_region = one[2] > 0
    verification = Verification(
        _VERDICTS[int(verdict)],
        probability,
        int(inliers),
        one if has_region else None,
        two if has_region else None,
        transform if has_region else None,
    )
    return VerifiedPair(int(first), int(second), verification)
