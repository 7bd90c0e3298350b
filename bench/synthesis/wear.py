"""Imitate the damage of age and scanning: show-through, stains, dark edges, grey or two-tone scans, blur, noise."""

import cv2
import numpy as np

from bench.synthesis.ink import Array, estimate_paper, extract_ink


def show_through(page: Array, back: Array, rng: np.random.Generator) -> Array:
    """Let the other side of the leaf show through, mirrored and faint."""
    mirrored = cv2.resize(np.ascontiguousarray(back[:, ::-1]), page.shape[1::-1])
    ink = cv2.GaussianBlur(extract_ink(mirrored, estimate_paper(mirrored)), (0, 0), rng.uniform(0.6, 2))
    return page * (1 - rng.uniform(0.06, 0.3) * (1 - ink.mean(axis=2, keepdims=True)))


def stain(page: Array, rng: np.random.Generator) -> Array:
    """Add some brown stains, filled or as rings."""
    height, width = page.shape[:2]
    mask = np.zeros((height // 4, width // 4), np.float32)
    for _ in range(rng.integers(1, 5)):
        centre = (int(rng.integers(width // 4)), int(rng.integers(height // 4)))
        axes = rng.integers(3, max(4, width // 14), 2).tolist()
        thickness = -1 if rng.random() < 0.7 else int(rng.integers(1, 3))
        cv2.ellipse(mask, centre, axes, int(rng.integers(360)), 0, 360, float(rng.uniform(0.1, 0.5)), thickness)
    mask = cv2.resize(cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 6)), (width, height))
    return page * (1 - mask[..., None] * np.array([0.4, 0.7, 0.9]))


def darken_edge(page: Array, rng: np.random.Generator) -> Array:
    """Darken the left or right edge, as the gutter of a book or the bed of a scanner does."""
    width = page.shape[1]
    x = np.arange(width) if rng.random() < 0.5 else np.arange(width)[::-1]
    shade = 1 - rng.uniform(0.2, 0.9) * np.exp(-x / (width * rng.uniform(0.01, 0.06)))
    return page * shade[None, :, None]


def grey(page: Array) -> Array:
    """Convert a page to grey."""
    return np.repeat(page @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2)


def two_tones(page: Array, rng: np.random.Generator) -> Array:
    """Convert a page to nearly pure black and white, as on microfilms and old scans."""
    light = grey(page) / np.maximum(grey(estimate_paper(page)), 1) * 255
    return np.clip((light - rng.uniform(130, 215)) * rng.uniform(3, 12) + 128, 0, 255)


def age(page: Array, back: Array, rng: np.random.Generator) -> Array:
    """Return a page with a random selection of the above.

    Args:
        page: Page, ``(h, w, 3)`` in [0, 255].
        back: The other side of the leaf.
        rng: Random generator.
    """
    if rng.random() < 0.35:
        page = show_through(page, back, rng)
    if rng.random() < 0.3:
        page = stain(page, rng)
    if rng.random() < 0.2:
        page = darken_edge(page, rng)
    if rng.random() < 0.12:
        page = two_tones(page, rng)
    elif rng.random() < 0.3:
        page = grey(page)
    if rng.random() < 0.25:
        page = cv2.GaussianBlur(page, (0, 0), rng.uniform(0.4, 1.1))
    if rng.random() < 0.2:
        page = page + rng.normal(0, rng.uniform(2, 9), page.shape)
    if rng.random() < 0.3:
        page = 255 * (np.clip(page, 0, 255) / 255) ** rng.uniform(0.6, 1.6)
    return np.clip(page, 0, 255).astype(np.float32)
