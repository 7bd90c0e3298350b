"""Transpositions of an image: plates are often printed mirrored, and scans are often rotated."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Transposition(StrEnum):
    """Mirroring or rotation of an image before the comparison; ``rot90`` is 90° anticlockwise."""

    NONE = "none"
    HFLIP = "hflip"
    VFLIP = "vflip"
    ROT90 = "rot90"
    ROT180 = "rot180"
    ROT270 = "rot270"


def transpose(image: "NDArray[np.uint8]", transposition: Transposition) -> "NDArray[np.uint8]":
    """Return a view of an image ``(height, width, …)``: ``hflip`` swaps left and right, ``vflip`` top and bottom."""
    import numpy as np  # not at module level: the web process uses only the names

    match transposition:
        case Transposition.NONE:
            return image
        case Transposition.HFLIP:
            return image[:, ::-1]
        case Transposition.VFLIP:
            return image[::-1]
        case Transposition.ROT90:
            return np.rot90(image, 1)
        case Transposition.ROT180:
            return image[::-1, ::-1]
        case Transposition.ROT270:
            return np.rot90(image, 3)
