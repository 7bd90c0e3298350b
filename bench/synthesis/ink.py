"""Ink, as the share of light that it lets through: it can be laid on any paper.

Pages are ``(h, w, 3)`` float32 RGB in [0, 255]; a mask is ``(h, w)``, 1 where there is ink; ink is ``(h, w, 3)`` in
[0, 1], 1 where the paper stays as it is.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of float32; OpenCV's annotations do not say so

BLACK, BROWN, RED, BLUE = (0.13, 0.12, 0.11), (0.33, 0.22, 0.13), (0.72, 0.2, 0.14), (0.2, 0.3, 0.6)
GREEN, YELLOW = (0.35, 0.55, 0.35), (0.85, 0.7, 0.3)


def estimate_paper(page: Array) -> Array:
    """Return a page without what is written on it: the brightest around each point, smoothed."""
    height, width = page.shape[:2]
    small = cv2.resize(page, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    bright = cv2.medianBlur(cv2.dilate(small, np.ones((7, 7))).clip(0, 255).astype(np.uint8), 15)
    return cv2.GaussianBlur(cv2.resize(bright, (width, height)).astype(np.float32), (0, 0), 4)


def lift(pixels: Array, paper: Array) -> Array:
    """Return the ink of an image, given its paper: a colour, or an image of the same size."""
    return np.clip(pixels / np.maximum(paper, 1), 0, 1).astype(np.float32)


def dye(mask: Array, colour: tuple[float, float, float], strength: float = 1.0) -> Array:
    """Return ink of a colour where a mask has some."""
    return (1 - mask[..., None] * strength * (1 - np.array(colour))).astype(np.float32)


def lay(page: Array, ink: Array, x: int, y: int) -> None:
    """Lay ink on a page, its top left corner at a point; what does not fit is cut off."""
    spot = page[y : y + ink.shape[0], x : x + ink.shape[1]]
    spot *= ink[: spot.shape[0], : spot.shape[1]]


def clear(page: Array, paper: Array, box: tuple[int, int, int, int], rng: np.random.Generator) -> None:
    """Give a box ``xyxy`` of a page back to the paper, softly at its edges, with some grain."""
    mask: Array = np.zeros(page.shape[:2], np.float32)
    cv2.rectangle(mask, box[:2], (box[2] - 1, box[3] - 1), 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.5)[..., None]
    grain = rng.normal(0, 2, page.shape[:2])[..., None]
    page *= 1 - mask
    page += mask * (paper + grain)


def resize(ink: Array, width: int, height: int) -> Array:
    """Return ink at another size."""
    shrinks = width * height < ink.shape[0] * ink.shape[1]
    scaled = cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.clip(scaled, 0, 1)


def waver(mask: Array, reach: float, rng: np.random.Generator) -> Array:
    """Return a mask as an unsteady hand or a worn type would have drawn it, moved by up to some pixels."""
    height, width = mask.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shifts = [cv2.resize(rng.normal(0, reach, (6, 6)).astype(np.float32), (width, height)) for _ in range(2)]
    return cv2.remap(mask, x + shifts[0], y + shifts[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
