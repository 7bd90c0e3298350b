"""Draw cursive handwriting: letters to someone, and signatures. They are not illustrations."""

from collections.abc import Sequence

import cv2
import numpy as np

from bench.synthesis.ink import BLACK, BLUE, BROWN, Array, colour_mask, draw_ink
from bench.synthesis.setting import Setting
from bench.synthesis.sheets import Cut

# Characters, each as points ``x y`` relative to the height of a small one, with y upwards from the baseline.
_CHARACTERS = (
    ((0, 0), (0.3, 1), (0.5, 0)),
    ((0, 0), (0.35, 1), (0.1, 0.6), (0.3, 0), (0.6, 0.2)),
    ((0, 0), (0.2, 1), (0.35, 0), (0.6, 1), (0.75, 0)),
    ((0, 0), (0.5, 2.3), (0.3, 2.5), (0.2, 0), (0.5, 0.1)),
    ((0, 0), (0.5, 2), (0.3, 0), (0.5, 1), (0.7, 0)),
    ((0, 0), (0.3, 1), (0.2, -1.4), (-0.1, -1.2), (0.5, 0.2)),
    ((0, 0), (0.5, 1), (0.1, 0.9), (0.1, 0.1), (0.6, 0.2)),
)
_FREQUENCY = (0.27, 0.17, 0.14, 0.12, 0.09, 0.09, 0.12)
_INKS = (BLACK, BROWN, BROWN, BLUE)


def draw_writing(rng: np.random.Generator, width: int, size: float, most: int = 1000) -> Array:
    """Return the mask of a line of handwriting.

    Args:
        rng: Random generator.
        width: Width of the line in pixels; the text may be shorter.
        size: Height of a small character, in pixels.
        most: Largest number of characters.
    """
    word: list[np.ndarray] = []
    words: list[np.ndarray] = []
    x, left = 0.3, int(rng.integers(2, 10))  # the next character, and the number of characters left in its word
    irregular, spread = rng.uniform(0.05, 0.25), rng.uniform(0.7, 1.4)
    for _ in range(most):
        points = np.array(_CHARACTERS[rng.choice(len(_CHARACTERS), p=_FREQUENCY)])
        points = points * (spread, 1) * rng.normal(1, irregular, (1, 2)) + rng.normal(0, irregular / 4, points.shape)
        word.append(points + np.array((x, 0)))
        x, left = word[-1][-1][0], left - 1
        if left == 0:
            words.append(np.concatenate(word))
            word, x, left = [], x + rng.uniform(0.6, 1.6), int(rng.integers(2, 10))
        if (x + 3) * size > width:
            break
    words += [np.concatenate(word)] if word else []
    mask: Array = np.zeros((round(6 * size) * 2, width * 2), np.float32)
    slant = np.array((rng.uniform(-0.1, 0.9), 0))
    thin, thick = max(1, round(size * 0.12)), max(1, round(size * rng.uniform(0.15, 0.4)))
    for each in words:
        _draw_word(mask, each + each[:, 1:] * slant, size, thin, thick)
    return cv2.resize(mask, (width, mask.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _draw_word(mask: Array, word: np.ndarray, size: float, thin: int, thick: int) -> None:
    """Draw a smooth line through the points of a word, thicker where it goes down. ``mask`` is twice as large."""
    steps = np.arange(0, len(word) - 1, 0.12)
    line = np.stack([np.interp(steps, range(len(word)), word[:, axis]) for axis in (0, 1)], axis=1)
    kernel = np.hanning(9)[1:-1] / np.hanning(9).sum()
    padded = np.pad(line, ((3, 3), (0, 0)), mode="edge")
    line = np.stack([np.convolve(padded[:, axis], kernel, "valid") for axis in (0, 1)], axis=1)
    spots = (np.stack([line[:, 0] + 0.5, 3.6 - line[:, 1]], axis=1) * size * 2).round().astype(int)
    for start, end in zip(spots[:-1].tolist(), spots[1:].tolist(), strict=True):
        cv2.line(mask, start, end, 1, 2 * thick if end[1] > start[1] else 2 * thin, cv2.LINE_AA)


def draw_signature(rng: np.random.Generator, width: int, size: float) -> Array:
    """Return the ink of a signature: a few large characters, mostly with a flourish under them."""
    mask = draw_writing(rng, width, size, int(rng.integers(4, 14)))
    if rng.random() < 0.7:
        t = np.linspace(0, 1, 80)
        turns = rng.uniform(0.5, 4) * 2 * np.pi
        x = mask.shape[1] * (0.1 + 0.7 * t + rng.uniform(0.05, 0.25) * np.sin(turns * t))
        y = mask.shape[0] * (0.7 + rng.uniform(0.05, 0.25) * np.cos(turns * t + rng.uniform(0, 6)))
        line = np.stack([x, y], axis=1).astype(np.int32)
        cv2.polylines(mask, [line], False, 1, max(1, round(size * 0.2)), cv2.LINE_AA)
    return colour_mask(mask, _INKS[rng.integers(len(_INKS))], rng.uniform(0.6, 1))


def set_letter(s: Setting, cuts: Sequence[Cut]) -> None:
    """Clear the page and write a letter by hand: lines of one size and colour, often with a signature."""
    width, height = s.size
    if s.is_taken((0, 0, width, height)):
        return
    s.wipe((0, 0, width, height))
    size, colour = height * s.rng.uniform(0.006, 0.022), _INKS[s.rng.integers(len(_INKS))]
    gap, strength, tilt = size * s.rng.uniform(3, 5), s.rng.uniform(0.5, 1), s.rng.uniform(-0.03, 0.03)
    left, y = int(width * s.rng.uniform(0.03, 0.2)), height * s.rng.uniform(0.02, 0.4)
    wide, seed = int(width * s.rng.uniform(0.6, 0.95)) - left, int(s.rng.integers(2**31))
    end = height * s.rng.uniform(0.4, 1)
    while y < end - 6 * size:
        short = int(wide * s.rng.uniform(0.3, 0.9)) if s.rng.random() < 0.15 else wide
        mask = draw_writing(np.random.default_rng([seed, round(y)]), max(30, short), size)
        turn = cv2.getRotationMatrix2D((0, mask.shape[0] / 2), np.degrees(tilt), 1)
        mask = cv2.warpAffine(mask, turn, mask.shape[1::-1])
        draw_ink(s.page, colour_mask(mask, colour, strength), left, int(y))
        y += gap
    if s.rng.random() < 0.4 and y < height - 8 * size:
        draw_ink(s.page, draw_signature(s.rng, width // 2, size * s.rng.uniform(1.2, 3)), width // 2 - left, int(y))
