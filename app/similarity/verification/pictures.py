"""Pictures with local contrast normalised, so that ink, wear and the tone of the paper do not count."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Values = NDArray[np.float32]
# An affine transform ``(2, 3)`` or ``(3, 3)`` of positions (x, y), or the linear part ``(2, 2)`` of one.
Matrix = NDArray[np.floating[Any]]

# Window of the normalisation, in pixels of the reduced picture.
RADIUS = 8.0
# Side of the square that has the area of a thumbnail, in pixels.
THUMBNAIL = 64
THUMBNAIL_RADIUS = 5.0


def build_scaling(horizontal: float, vertical: float) -> Matrix:
    """Return the ``(3, 3)`` transform of positions when a picture is resized by two factors.

    Positions are those of OpenCV: (0, 0) is the centre of the first pixel. Resizing keeps the edges of the picture, so
    the centres move.
    """
    return np.array([[horizontal, 0.0, (horizontal - 1) / 2], [0.0, vertical, (vertical - 1) / 2], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Thumbnail:
    """A small picture with local contrast normalised.

    Attributes:
        values: ``(height, width)``.
        scale: Thumbnail pixels per picture pixel, (horizontal, vertical).
    """

    values: Values
    scale: tuple[float, float]


def build_thumbnail(picture: Grey) -> Thumbnail:
    """Return the thumbnail of a grey picture ``(height, width)``."""
    height, width = picture.shape
    factor = THUMBNAIL / np.sqrt(height * width)
    target = max(1, round(width * factor)), max(1, round(height * factor))
    small = np.asarray(cv2.resize(picture, target, interpolation=cv2.INTER_AREA), np.uint8)
    return Thumbnail(normalise(small, THUMBNAIL_RADIUS), (target[0] / width, target[1] / height))


def normalise(picture: Grey, radius: float) -> Values:
    """Return a picture with local mean 0 and local deviation about 1, so that ink and paper tone do not count.

    Args:
        picture: Grey picture ``(height, width)``.
        radius: Standard deviation of the Gaussian window, in pixels.
    """
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.8)
    centred = smooth - cv2.GaussianBlur(smooth, (0, 0), radius)
    deviation = np.sqrt(cv2.GaussianBlur(centred * centred, (0, 0), radius))
    # Blank paper stays flat.
    floor = 0.35 * float(np.sqrt((centred * centred).mean())) + 1e-3
    return np.asarray(centred / np.maximum(deviation, floor), np.float32)
