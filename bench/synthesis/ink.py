"""Separate ink from paper, and put it on other paper.

Three kinds of arrays are used, all of float32:

- a page, ``(h, w, 3)``: RGB in [0, 255];
- a mask, ``(h, w)``: the amount of ink in [0, 1];
- ink, ``(h, w, 3)``: the share of light that passes through, in [0, 1]. Multiplying a page by ink draws the ink on it.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 in practice, which the annotations of OpenCV do not express

BLACK, BROWN, RED, BLUE = (0.13, 0.12, 0.11), (0.33, 0.22, 0.13), (0.72, 0.2, 0.14), (0.2, 0.3, 0.6)
GREEN, YELLOW = (0.35, 0.55, 0.35), (0.85, 0.7, 0.3)


def estimate_paper(page: Array) -> Array:
    """Estimate the empty paper of a page: the brightest value around each pixel, smoothed."""
    height, width = page.shape[:2]
    small = cv2.resize(page, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    bright = cv2.medianBlur(cv2.dilate(small, np.ones((7, 7))).clip(0, 255).astype(np.uint8), 15)
    return cv2.GaussianBlur(cv2.resize(bright, (width, height)).astype(np.float32), (0, 0), 4)


def extract_ink(pixels: Array, paper: Array) -> Array:
    """Return the ink of an image.

    Args:
        pixels: The image.
        paper: Its paper, as a colour or as an image of the same size.
    """
    return np.clip(pixels / np.maximum(paper, 1), 0, 1).astype(np.float32)


def colour_mask(mask: Array, colour: tuple[float, float, float], strength: float = 1.0) -> Array:
    """Return the ink of a mask in a colour, RGB in [0, 1]."""
    return (1 - mask[..., None] * strength * (1 - np.array(colour))).astype(np.float32)


def draw_ink(page: Array, ink: Array, x: int, y: int) -> None:
    """Draw ink on a page with its top left corner at a point; cut off what does not fit. Changes ``page``."""
    spot = page[y : y + ink.shape[0], x : x + ink.shape[1]]
    spot *= ink[: spot.shape[0], : spot.shape[1]]


def clear(page: Array, paper: Array, box: tuple[int, int, int, int], rng: np.random.Generator) -> None:
    """Replace a box (xyxy) of a page by its paper, with soft edges and some grain. Changes ``page``."""
    mask: Array = np.zeros(page.shape[:2], np.float32)
    cv2.rectangle(mask, box[:2], (box[2] - 1, box[3] - 1), 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.5)[..., None]
    grain = rng.normal(0, 2, page.shape[:2])[..., None]
    page *= 1 - mask
    page += mask * (paper + grain)


def resize(ink: Array, width: int, height: int) -> Array:
    """Resize ink or a mask."""
    shrinks = width * height < ink.shape[0] * ink.shape[1]
    scaled = cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.clip(scaled, 0, 1)


def distort(mask: Array, reach: float, rng: np.random.Generator) -> Array:
    """Distort a mask or ink smoothly, as if drawn by an unsteady hand or printed from worn type.

    Args:
        mask: Mask or ink to distort.
        reach: Standard deviation of the displacement, in pixels.
        rng: Random generator.
    """
    height, width = mask.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shifts = [cv2.resize(rng.normal(0, reach, (6, 6)).astype(np.float32), (width, height)) for _ in range(2)]
    return cv2.remap(mask, x + shifts[0], y + shifts[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def trim(ink: Array, lightest: float = 0.9) -> Array:
    """Crop the empty margins of ink, which are at least as light as ``lightest``."""
    ys, xs = np.nonzero(ink.min(axis=2) < lightest)
    return ink[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] if len(ys) else ink


def draw_screen(high: int, wide: int, rng: np.random.Generator) -> Array:
    """Return the waves of a screen of dots, ``(high, wide)`` in [-2, 2]."""
    y, x = np.mgrid[:high, :wide] * (2 * np.pi / rng.uniform(2.5, 5))
    return np.sin(x + y) + np.sin(x - y)
