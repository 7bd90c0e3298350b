"""Labelled pages: their pixels, ground truth and detections."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.detection.boxes import Detections
from app.images.pixels import decode_image
from app.training.image_check import FORMATS


@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """The ground truth of a page.

    Attributes:
        xyxy: ``(n, 4)`` float64 corners ``x1 y1 x2 y2`` in pixels of the page.
        class_id: ``(n,)`` int64 class ids.
    """

    xyxy: NDArray[np.float64]
    class_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, eq=False)
class LabelledPage:
    """A page with its ground truth and its detections at any confidence.

    Attributes:
        image_name: Name of the image file.
        size: (width, height) of the page, in the pixels of its boxes.
        true: Ground truth.
        found: Detections, with class ids of the data set.
    """

    image_name: str
    size: tuple[float, float]
    true: TrueBoxes
    found: Detections


def load_page(path: Path, least: int | None) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Return the upright pixels of a page, and its (width, height) in these pixels.

    Labels refer to the page as displayed, see :mod:`app.images.orientation`.

    Args:
        path: The image file.
        least: Required length of the longer side, in pixels, for a reduced decode; None for full size.

    Raises:
        OSError, SyntaxError, ValueError, DecompressionBombError: If the image cannot be read.
    """
    with path.open("rb") as file:
        return decode_image(file, least, formats=FORMATS)


def load_labels(path: Path, size: tuple[float, float]) -> TrueBoxes:
    """Return the ground truth in a YOLO label file with rows ``class x_center y_center width height``.

    Args:
        path: The label file; a missing file means a page without boxes.
        size: (width, height) of the page, in the pixels of the result.

    Raises:
        ValueError: If the file is not a label file.
    """
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    labels = np.array([row for row in rows if row], dtype=np.float64).reshape(-1, 5)
    centre, half = labels[:, 1:3], labels[:, 3:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1) * np.array([*size, *size])
    return TrueBoxes(corners, labels[:, 0].astype(np.int64))
