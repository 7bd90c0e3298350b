"""Turn pictures into ink as in historical documents: pen drawing, engraving, woodcut, wash, colours, halftone.

A picture is ``(h, w, 3)`` float32, the light of each pixel in [0, 1] on white ground. So is its ink, see ``ink``.
"""

from collections.abc import Callable

import cv2
import numpy as np

from bench.synthesis.ink import BLACK, BROWN, RED, Array, colour_mask, distort, draw_screen

Style = Callable[[Array, np.random.Generator], Array]


def draw_with_pen(picture: Array, rng: np.random.Generator) -> Array:
    """Draw the outlines only, in lines of a pen."""
    lines = distort(_find_outlines(picture, rng.uniform(0.5, 1.1)), rng.uniform(0, 1.5), rng)
    return colour_mask(lines, (BLACK, BROWN, BROWN, RED)[rng.choice(4, p=(0.4, 0.25, 0.25, 0.1))], rng.uniform(0.5, 1))


def engrave(picture: Array, rng: np.random.Generator) -> Array:
    """Draw outlines, and shade in fine lines that cross where the picture is dark."""
    dark, angle, period = _find_tone(picture), rng.uniform(0, np.pi), rng.uniform(2.2, 4.5)
    mask = _find_outlines(picture, rng.uniform(0.4, 0.8))
    for layer in range(rng.integers(1, 4)):
        mask = np.maximum(mask, _hatch(np.clip(dark - 0.25 * layer, 0, 1), angle + layer * 1.1, period, rng))
    return colour_mask(mask, (BLACK, BROWN)[rng.choice(2, p=(0.85, 0.15))], rng.uniform(0.75, 1))


def cut_in_wood(picture: Array, rng: np.random.Generator) -> Array:
    """Draw thick outlines, shade in one layer of coarse lines, and fill the darkest parts."""
    dark = _find_tone(picture)
    outlines = np.clip(_find_outlines(picture, rng.uniform(0.8, 1.6)) * 1.5, 0, 1)
    shade = _hatch(dark * rng.uniform(0.5, 1), rng.uniform(0, np.pi), rng.uniform(4, 8), rng)
    solid = np.clip((dark - rng.uniform(0.7, 1)) * 8, 0, 1)
    return colour_mask(distort(np.maximum.reduce([outlines, shade, solid]), 0.8, rng), BLACK, rng.uniform(0.8, 1))


def wash(picture: Array, rng: np.random.Generator) -> Array:
    """Shade in one diluted ink, often under outlines of a pen."""
    colour = (BLACK, BROWN)[rng.integers(2)]
    ink = colour_mask(cv2.GaussianBlur(_find_tone(picture), (0, 0), rng.uniform(0.5, 2)), colour, rng.uniform(0.4, 0.9))
    return ink * draw_with_pen(picture, rng) if rng.random() < 0.7 else ink


def paint(picture: Array, rng: np.random.Generator) -> Array:
    """Keep the colours, more muted, often under outlines of a pen."""
    grey = picture.mean(axis=2, keepdims=True)
    muted = np.clip(grey + (picture - grey) * rng.uniform(0.3, 0.8), 0.05, 1)
    ink = np.power(muted, rng.uniform(0.4, 1.2, 3)).astype(np.float32)  # empty ground stays empty
    return ink * draw_with_pen(picture, rng) if rng.random() < 0.6 else ink


def print_in_halftone(picture: Array, rng: np.random.Generator) -> Array:
    """Print the tones through a screen of dots."""
    light, (high, wide) = 1 - _find_tone(picture) * rng.uniform(0.6, 0.95), picture.shape[:2]
    screen = draw_screen(high, wide, rng) * 0.22 + 0.44  # at most 0.88, so that empty ground stays empty
    return np.repeat(np.clip((light - screen) * 4 + 0.5, 0.05, 1)[..., None], 3, axis=2).astype(np.float32)


STYLES: tuple[Style, ...] = (draw_with_pen, engrave, cut_in_wood, wash, paint, print_in_halftone)


def _find_tone(picture: Array) -> Array:
    """Return how dark a picture is, ``(h, w)``, with its contrast stretched."""
    grey = picture.mean(axis=2)
    low, high = np.percentile(grey, (2, 98))
    return (1 - np.clip((grey - low) / max(high - low, 0.1), 0, 1)).astype(np.float32)


def _find_outlines(picture: Array, width: float) -> Array:
    """Return a mask of outlines, from the difference of two blurs (Winnemöller et al., XDoG, 2012).

    Args:
        picture: Picture.
        width: Standard deviation of the finer blur in pixels, about half the width of a line.
    """
    soft = cv2.GaussianBlur(picture, (0, 0), width)
    difference = np.abs(soft - cv2.GaussianBlur(picture, (0, 0), 1.6 * width)).max(axis=2)
    return np.clip(difference / 0.12, 0, 1).astype(np.float32)


def _hatch(dark: Array, angle: float, period: float, rng: np.random.Generator) -> Array:
    """Return a mask of slightly bent lines, whose width grows with the darkness.

    Args:
        dark: Darkness, ``(h, w)`` in [0, 1].
        angle: Direction across the lines, in radians.
        period: Distance between lines, in pixels.
        rng: Random generator.
    """
    high, wide = dark.shape
    y, x = np.mgrid[:high, :wide].astype(np.float32)
    bend = cv2.resize(
        rng.normal(0, 1.2 * period, (3, 3)).astype(np.float32), (wide, high), interpolation=cv2.INTER_CUBIC
    )
    wave = 0.5 + 0.5 * np.cos((x * np.cos(angle) + y * np.sin(angle) + bend) * (2 * np.pi / period))
    return np.clip((wave - 1 + 0.9 * dark) * period, 0, 1).astype(np.float32)
