"""Draw distractors: initials, rubrics, line fillers, small flowers, stamps, rules, vines and tables.

They resemble illustrations but are not labelled, so that the detector learns to ignore them.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from bench.synthesis.handwriting import draw_signature
from bench.synthesis.ink import BLACK, BLUE, BROWN, GREEN, RED, YELLOW, Array, clear, colour_mask, draw_ink, resize
from bench.synthesis.letters import ALPHABET, SERIFS, draw_letters, make_words
from bench.synthesis.ornaments import LEAVES, draw_glyph, draw_large_type


def draw_initial(rng: np.random.Generator, side: int) -> Array:
    """Return the ink of a square initial: a plain letter, or a letter on a patterned or painted ground."""
    letter = np.zeros((side, side), np.float32)
    drawn = draw_letters(str(rng.choice(ALPHABET)), side, str(rng.choice(SERIFS)))
    inner = int(side * rng.uniform(0.7, 0.95))
    at = (side - inner) // 2
    letter[at : at + inner, at : at + inner] = cv2.resize(drawn, (inner, inner), interpolation=cv2.INTER_AREA)
    colours = (BLACK, RED, BLUE, GREEN, YELLOW, BROWN)
    ground = rng.random()
    if ground < 0.3:
        return colour_mask(letter, colours[rng.integers(3)])
    pattern = _draw_pattern(rng, side)
    if ground < 0.65:  # a woodcut: a black letter on scrolls, or a white letter on a dark ground
        if rng.random() < 0.5:
            return colour_mask(np.maximum(letter, pattern * (cv2.dilate(letter, np.ones((5, 5))) < 0.3)), BLACK)
        return colour_mask(np.clip(1 - pattern, 0, 1) * (1 - letter), BLACK)
    first, second, third = rng.permutation(len(colours))[:3]
    ink = colour_mask(np.ones((side, side), np.float32), colours[first], 0.8) * colour_mask(
        pattern, colours[second], 0.6
    )
    return np.where(letter[..., None] > 0.5, colour_mask(letter, colours[third], 0.9), ink).astype(np.float32)


def _draw_pattern(rng: np.random.Generator, side: int) -> Array:
    """Return a mask of scrolls and dots, mostly with a frame."""
    mask = np.zeros((side, side), np.float32)
    for _ in range(rng.integers(3, 14)):
        centre, axes = rng.integers(0, side, 2), rng.integers(2, max(3, side // 3), 2)
        start = int(rng.integers(0, 360))
        cv2.ellipse(mask, centre.tolist(), axes.tolist(), int(rng.integers(180)), start, start + 250, 1, 1, cv2.LINE_AA)
    for x, y in rng.integers(0, side, (rng.integers(0, 20), 2)).tolist():
        cv2.circle(mask, (x, y), 1, 1, -1)
    if rng.random() < 0.7:
        cv2.rectangle(mask, (0, 0), (side - 1, side - 1), 1, int(rng.integers(1, 3)))
    return mask


def draw_filler(rng: np.random.Generator, width: int, height: int) -> Array:
    """Return the ink of a line filler, which fills the end of a line of text: a wave, or a wave on painted bars."""
    mask = np.zeros((height, width), np.float32)
    x = np.arange(width)
    wave = height / 2 + np.sin(x / rng.uniform(1.5, 6)) * height * rng.uniform(0.1, 0.45)
    cv2.polylines(mask, [np.stack([x, wave], 1).astype(np.int32)], False, 1, int(rng.integers(1, 3)), cv2.LINE_AA)
    ink = colour_mask(mask, (RED, BLUE, BROWN)[rng.integers(3)])
    if rng.random() < 0.5:
        bars = np.ones((height, width), np.float32) * (np.sin(x / rng.uniform(3, 12)) > rng.uniform(-1, 0.5))
        ink = ink * colour_mask(
            bars.astype(np.float32), (RED, BLUE, YELLOW, BROWN)[rng.integers(4)], rng.uniform(0.4, 1)
        )
    return ink


def draw_stamp(rng: np.random.Generator, side: int) -> Array:
    """Return the ink of a library stamp: rings, letters along the rim and a word, mostly red."""
    mask = np.zeros((120, 120), np.float32)
    middle, squash = (60, 60), rng.uniform(0.7, 1)
    for radius in (56, *rng.integers(20, 54, rng.integers(1, 3)).tolist()):
        axes = (int(radius), int(radius * squash))
        cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, int(rng.integers(1, 4)), cv2.LINE_AA)
    for angle in np.arange(0, 360, 22):
        letter = draw_letters(str(rng.choice(ALPHABET)), 13, "DejaVuSerif.ttf")
        x, y = 60 + 46 * np.cos(np.radians(angle)), 60 + 46 * squash * np.sin(np.radians(angle))
        spot = mask[int(y) - 6 : int(y) - 6 + letter.shape[0], int(x) - 5 : int(x) - 5 + letter.shape[1]]
        np.maximum(spot, letter[: spot.shape[0], : spot.shape[1]], out=spot)
    word = draw_letters(make_words(rng, 1)[:4], 18, "DejaVuSerif-Bold.ttf")[:40, :60]
    mask[50 : 50 + word.shape[0], 60 - word.shape[1] // 2 : 60 - word.shape[1] // 2 + word.shape[1]] = word
    colour = (RED, RED, BLACK, BLUE, BLUE)[rng.integers(5)]
    turn = cv2.getRotationMatrix2D(middle, rng.uniform(-40, 40), 1)
    return resize(colour_mask(cv2.warpAffine(mask, turn, (120, 120)), colour, rng.uniform(0.4, 0.9)), side, side)


def rubricate(page: Array, paper: Array, rng: np.random.Generator) -> None:
    """Recolour some lines of the text in red or blue, and highlight a few of them with yellow. Changes ``page``."""
    height, width = page.shape[:2]
    for _ in range(rng.integers(1, 9)):
        tall, wide = int(height * rng.uniform(0.012, 0.03)), int(width * rng.uniform(0.05, 0.45))
        x, y = int(rng.integers(0, width - wide)), int(rng.integers(0, height - tall))
        spot, ground = page[y : y + tall, x : x + wide], paper[y : y + tall, x : x + wide]
        ink = 1 - np.clip(spot.mean(axis=2) / np.maximum(ground.mean(axis=2), 1), 0, 1)
        colour = (RED, RED, RED, BLUE)[rng.integers(4)]
        spot[:] = ground * colour_mask(np.clip(ink * 1.3, 0, 1).astype(np.float32), colour)
        if rng.random() < 0.2:
            spot *= np.array([1, 0.95, 0.6], np.float32)


def draw_vine(rng: np.random.Generator, length: int, wide: int) -> Array:
    """Return the ink of an upright stem with leaves, as in the margin of an illuminated page."""
    mask = np.zeros((length, wide), np.float32)
    y = np.arange(length)
    x = wide / 2 + np.sin(y / rng.uniform(8, 40)) * wide * rng.uniform(0.05, 0.4)
    stem = np.stack([x, y], axis=1).astype(np.int32)
    cv2.polylines(mask, [stem], False, 1, int(rng.integers(1, 3)), cv2.LINE_AA)
    leaves = np.zeros_like(mask)
    for k in rng.integers(0, length, length // 6):
        at = stem[k] + rng.integers(-wide // 3, wide // 3 + 1, 2)
        cv2.line(mask, stem[k].tolist(), at.tolist(), 1, 1, cv2.LINE_AA)
        cv2.circle(leaves, at.tolist(), int(rng.integers(1, 4)), 1, -1, cv2.LINE_AA)
    colours = (BROWN, BLUE, RED, YELLOW, GREEN, BLACK)
    return colour_mask(mask, BROWN) * colour_mask(leaves, colours[rng.integers(6)], rng.uniform(0.5, 1))


def draw_table(rng: np.random.Generator, width: int, height: int) -> Array:
    """Return the ink of a table of numbers, mostly with rules."""
    mask, words = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    rows, columns = int(rng.integers(3, 16)), int(rng.integers(2, 9))
    ys, xs = np.linspace(0, height - 2, rows + 1).astype(int), np.linspace(0, width - 2, columns + 1).astype(int)
    if rng.random() < 0.7:
        mask[ys], mask[:, xs] = 1, 1
    for y, below in pairwise(ys):
        for x in xs[:-1]:
            number = draw_letters(str(rng.integers(1, 400)), max(6, int((below - y) * 0.6)), "STIXGeneral.ttf")
            spot = words[y + 3 : below, x + 3 :][: number.shape[0], : number.shape[1]]
            np.maximum(spot, number[: spot.shape[0], : spot.shape[1]], out=spot)
    return colour_mask(mask, (BLACK, BROWN, RED)[rng.integers(3)], rng.uniform(0.4, 1)) * colour_mask(words, BLACK, 0.9)


def add_distractors(
    page: Array, paper: Array, boxes: Sequence[tuple[int, int, int, int]], rng: np.random.Generator
) -> None:
    """Draw one to six distractors at random places of a page, except on its illustrations. Changes ``page``.

    Args:
        page: Page to draw on.
        paper: The page without its text, from ``estimate_paper``.
        boxes: Boxes of the illustrations, xyxy in pixels.
        rng: Random generator.
    """
    height, width = page.shape[:2]
    for _ in range(rng.integers(1, 7)):
        ink, on_empty = _draw_any(rng, width, height)
        high, wide = ink.shape[:2]
        x, y = int(rng.integers(0, max(1, width - wide))), int(rng.integers(0, max(1, height - high)))
        if any(x < b[2] and b[0] < x + wide and y < b[3] and b[1] < y + high for b in boxes):
            continue
        if on_empty:
            clear(page, paper, (x, y, x + wide, y + high), rng)
        draw_ink(page, np.power(ink, rng.uniform(0.6, 1)), x, y)


def _draw_any(rng: np.random.Generator, width: int, height: int) -> tuple[Array, bool]:
    """Draw a random distractor for a page of this size.

    Returns:
        Its ink, and whether the page must be cleared under it.
    """
    kind = rng.choice(9, p=(0.34, 0.14, 0.14, 0.08, 0.07, 0.06, 0.04, 0.06, 0.07))
    if kind == 0:
        side = max(8, int(height * rng.choice([0.015, 0.022, 0.03, 0.045, 0.06, 0.09])))
        return draw_initial(rng, side), bool(rng.random() < 0.7)
    if kind == 1:
        tall = max(6, int(height * rng.uniform(0.008, 0.02)))
        return draw_filler(rng, int(width * rng.uniform(0.04, 0.25)), tall), bool(rng.random() < 0.5)
    if kind == 2:
        return draw_stamp(rng, int(width * rng.uniform(0.08, 0.17))), False
    if kind == 3:
        glyph, small = draw_glyph(rng, LEAVES + "¶☞✠❡*"), max(5, int(height * 0.013))
        return resize(colour_mask(glyph, BLACK), max(4, small * glyph.shape[1] // glyph.shape[0]), small), True
    if kind == 4:
        return colour_mask(
            np.ones((int(rng.integers(1, 4)), int(width * rng.uniform(0.1, 0.7))), np.float32), BLACK
        ), False
    if kind == 5:
        vine = draw_vine(rng, int(height * rng.uniform(0.2, 0.8)), int(width * rng.uniform(0.03, 0.1)))
        return (vine.transpose(1, 0, 2) if rng.random() < 0.3 else vine)[:, :width], False
    if kind == 7:
        return draw_signature(rng, int(width * rng.uniform(0.15, 0.5)), height * rng.uniform(0.008, 0.03)), False
    if kind == 8:
        return draw_large_type(rng, int(height * rng.uniform(0.02, 0.06)))[:, :width], True
    return draw_table(rng, int(width * rng.uniform(0.25, 0.7)), int(height * rng.uniform(0.1, 0.5))), True
