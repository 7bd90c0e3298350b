"""Lay a page on the bed of a camera: a dark, grey or white ground, often with a ruler and a colour chart."""

import cv2
import numpy as np

from bench.synthesis.ink import Array
from bench.synthesis.letters import draw_letters, make_words

GROUNDS = ((18, 18, 20), (30, 28, 34), (12, 12, 12), (90, 90, 92), (150, 148, 145), (240, 240, 240), (110, 85, 60))


def lay_on_bed(page: Array, boxes: np.ndarray, rng: np.random.Generator) -> tuple[Array, np.ndarray]:
    """Return a page of the same longer side with a bed around it, and the boxes on it.

    Args:
        page: Page, ``(h, w, 3)`` in [0, 255].
        boxes: Boxes of the illustrations, ``(n, 4)`` xyxy in pixels.
        rng: Random generator.
    """
    high, wide = page.shape[:2]
    left, right = (int(wide * rng.uniform(0.02, 0.45) * (rng.random() < 0.7)) for _ in range(2))
    top, bottom = (int(high * rng.uniform(0.01, 0.15) * (rng.random() < 0.7)) for _ in range(2))
    bed = _draw_ground(rng, high + top + bottom, wide + left + right)
    mask = _cut_edges(rng, high, wide)[..., None]
    spot = bed[top : top + high, left : left + wide]
    spot[:] = spot * (1 - mask) + page * mask
    for side, start in ((left, 0), (right, left + wide)):
        if side > wide * 0.12 and rng.random() < 0.6:
            _draw_ruler(rng, bed[:, start : start + side])
    factor = max(high, wide) / max(bed.shape[:2])
    moved = (np.reshape(boxes, (-1, 4)) + np.array([left, top, left, top])) * factor
    return cv2.resize(bed, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), moved


def _draw_ground(rng: np.random.Generator, high: int, wide: int) -> Array:
    colour = np.array(GROUNDS[rng.integers(len(GROUNDS))], np.float32)
    shade = cv2.resize(rng.normal(1, rng.uniform(0, 0.12), (5, 5)).astype(np.float32), (wide, high))
    grain = rng.normal(0, rng.uniform(0, 5), (high, wide))
    return np.clip(colour * shade[..., None] + grain[..., None], 0, 255).astype(np.float32)


def _cut_edges(rng: np.random.Generator, high: int, wide: int) -> Array:
    """Return the mask of a leaf, whose edges may be uneven or torn."""
    mask: Array = np.ones((high, wide), np.float32)
    reach = wide * rng.choice([0, 0.004, 0.02])
    for turn in range(4):
        side = np.rot90(mask, turn)
        length = side.shape[1]
        edge = np.abs(np.interp(np.arange(length), np.linspace(0, length, 24), rng.normal(0, reach, 24)))
        side[np.arange(side.shape[0])[:, None] < edge] = 0
    if rng.random() < 0.15:  # a torn corner
        reach_x, reach_y = wide * rng.uniform(0.05, 0.3), high * rng.uniform(0.03, 0.2)
        t = np.linspace(0, 1, 12)
        torn = np.stack([reach_x * t, reach_y * (1 - t)], axis=1) + rng.normal(0, wide * 0.01, (12, 2))
        corner = np.concatenate([[[-9, -9]], torn]).astype(np.int32)
        cv2.fillPoly(mask, [corner if rng.random() < 0.5 else (wide, high) - corner], 0)
    return cv2.GaussianBlur(mask, (0, 0), 0.7)


def _draw_ruler(rng: np.random.Generator, bed: Array) -> None:
    """Draw an upright ruler with a row of grey or coloured fields on a part of a bed. Changes ``bed``."""
    high, wide = bed.shape[:2]
    broad, long = int(wide * rng.uniform(0.25, 0.6)), int(high * rng.uniform(0.3, 0.8))
    x, y = int(rng.integers(0, wide - broad)), int(rng.integers(0, high - long))
    strip = bed[y : y + long, x : x + broad]
    strip[:] = rng.choice([250, 235, 200, 40])
    ink = 255 - strip[0, 0]
    step = max(3, int(long * rng.uniform(0.01, 0.05)))
    for number, at in enumerate(range(0, long - 2, step)):
        strip[at : at + 1, : broad // (2 if number % 5 == 0 else 4)] = ink
    for number in range(rng.integers(0, 8)):
        at, tall = int(long * number / 8), max(2, long // 9)
        strip[at : at + tall, broad // 2 :] = rng.integers(0, 256, 3) if rng.random() < 0.6 else rng.integers(0, 256)
    text = np.rot90(draw_letters(make_words(rng, 2, capitals=False), max(7, broad // 4), "DejaVuSerif.ttf"))
    text = text[:long, : broad // 2]
    part = strip[: text.shape[0], broad - text.shape[1] :]
    part[:] = part * (1 - text[..., None]) + ink * text[..., None]
