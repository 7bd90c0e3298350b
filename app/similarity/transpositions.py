"""Ways to turn an image over: plates are often printed mirrored, and scans lie on their side."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Transposition(StrEnum):
    """How an image is turned before it is compared; ``rot90`` is a quarter turn anticlockwise."""

    NONE = "none"
    HFLIP = "hflip"
    VFLIP = "vflip"
    ROT90 = "rot90"
    ROT180 = "rot180"
    ROT270 = "rot270"


def transpose(image: "NDArray[np.uint8]", transposition: Transposition) -> "NDArray[np.uint8]":
    """Return a view of an image ``(height, width, …)``: ``hflip`` swaps left and right, ``vflip`` top and bottom."""
    import numpy as np  # the web process knows the names only

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
