"""The pages of a data set: their pixels, and the boxes that are on them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from app.detection.boxes import Detections
from app.images.pixels import decode_image
from app.training.image_check import FORMATS

# What Pillow raises of a file that is no image, is cut short, or unpacks to far too much.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)

_SIDEWAYS = range(5, 9)


@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """What is on a page.

    Attributes:
        xyxy: Corners ``(n, 4)`` float64, in the pixels of the page.
        class_id: ``(n,)`` int64.
    """

    xyxy: NDArray[np.float64]
    class_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, eq=False)
class LabelledPage:
    """A page with what is on it and what was found on it, at any confidence.

    Attributes:
        image_name: Of its image file.
        size: (width, height) of the page in the pixels of its boxes.
        true: What is on it.
        found: What was found, with the same class ids.
    """

    image_name: str
    size: tuple[float, float]
    true: TrueBoxes
    found: Detections


def load_page(path: Path, least: int | None) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Return the pixels of a page, upright, and its (width, height) in them.

    Labels are of the page as it is shown: turned as its EXIF data says.

    Args:
        path: The image file.
        least: Length of the longer side that is needed, in pixels; None for every pixel.

    Raises:
        OSError, SyntaxError, ValueError, DecompressionBombError: It cannot be read.
    """
    with path.open("rb") as file:
        with Image.open(file, formats=FORMATS) as image:
            # Pillow itself turns a TIFF.
            orientation = 1 if image.format == "TIFF" else image.getexif().get(ExifTags.Base.Orientation, 1)
        file.seek(0)
        pixels, (width, height) = decode_image(file, least, formats=FORMATS)
    if orientation in _SIDEWAYS:
        width, height = height, width
    return _turn(pixels, orientation), (width, height)


def load_labels(path: Path, size: tuple[float, float]) -> TrueBoxes:
    """Return the true boxes of a page from a YOLO label file: rows ``class x_center y_center width height``.

    Args:
        path: The label file; without one, nothing is on the page.
        size: (width, height) of the page in the pixels that are wanted.

    Raises:
        ValueError: It is not such a file.
    """
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    labels = np.array([row for row in rows if row], dtype=np.float64).reshape(-1, 5)
    centre, half = labels[:, 1:3], labels[:, 3:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1) * np.array([*size, *size])
    return TrueBoxes(corners, labels[:, 0].astype(np.int64))


def _turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation == 1:
        return pixels
    image = Image.fromarray(pixels)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(image))
