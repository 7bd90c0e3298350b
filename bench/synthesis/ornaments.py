"""Draw printers' ornaments: fleurons, bands and tailpieces of repeated pieces of type, and vine leaves."""

from collections.abc import Sequence

import cv2
import numpy as np

from bench.synthesis.ink import BLACK, BROWN, RED, Array, colour_mask, distort, resize
from bench.synthesis.letters import GLYPHS, SERIFS, draw_letters, make_words
from bench.synthesis.sheets import Cut

FLEURONS = "❦❧☙❧☙❦✿❀❁✾✽✤✣✥❖❈❉❃❊✺✻✠✙❋"
LEAVES = "❧☙❦"
TYPES = FLEURONS + "⁂⁎✶✷✸✹◊◈☼☽♣♠⚜☘"
HEIGHT = 90  # font size of a drawn glyph in pixels, before it is resized


def draw_glyph(rng: np.random.Generator, glyphs: str) -> Array:
    """Return the mask of a random glyph with signs of wear, sometimes mirrored or rotated."""
    mask = draw_letters(str(rng.choice(list(glyphs))), HEIGHT, GLYPHS)
    mask = np.pad(mask, 4)
    if rng.random() < 0.5:
        mask = mask[:, ::-1]
    if rng.random() < 0.2:
        mask = np.rot90(mask, int(rng.integers(1, 4)))
    if rng.random() < 0.4:  # too much or too little ink
        change = cv2.dilate if rng.random() < 0.5 else cv2.erode
        mask = change(np.ascontiguousarray(mask), np.ones((3, 3)))
    return distort(np.ascontiguousarray(mask), rng.uniform(0, 3), rng)


def draw_leaf(rng: np.random.Generator) -> Array:
    """Return the mask of an aldine leaf: a heart-shaped blade on a winding stem, with veins left white."""
    height, width = 90, int(rng.integers(90, 220))
    mask: Array = np.zeros((height * 2, width * 2), np.float32)
    t = np.linspace(0, 1, 60)
    stem = np.stack([t * width * 0.9 + 8, height * 0.5 + np.sin(t * rng.uniform(3, 9)) * height * 0.28], axis=1)
    cv2.polylines(mask, [(stem * 2).astype(np.int32)], False, 1, int(rng.integers(5, 14)), cv2.LINE_AA)
    for at in rng.uniform(0.2, 1, rng.integers(1, 4)):
        _draw_blade(mask, stem[int(at * 59)] * 2, rng.uniform(25, 55), rng.uniform(0, 2 * np.pi), rng)
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
    ys, xs = np.nonzero(mask > 0.1)
    return np.ascontiguousarray(mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1])


def _draw_blade(mask: Array, foot: np.ndarray, size: float, turn: float, rng: np.random.Generator) -> None:
    t = np.linspace(0, 2 * np.pi, 60)
    lobes = np.stack([16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)], 1)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    outline = (lobes + np.array([0, 17])) / 17 * size @ rotation.T + foot
    cv2.fillPoly(mask, [outline.astype(np.int32)], 1, cv2.LINE_AA)
    if rng.random() < 0.7:
        for shift in np.linspace(-0.4, 0.4, int(rng.integers(1, 5))):
            tip = np.array([shift, 1.2]) * size @ rotation.T + foot
            cv2.line(mask, foot.astype(int).tolist(), tip.astype(int).tolist(), 0, 2, cv2.LINE_AA)


def draw_fleuron(rng: np.random.Generator) -> Array:
    """Return the ink of a single ornament, as next to a title or below a text."""
    kind = rng.random()
    mask = draw_leaf(rng) if kind < 0.45 else draw_glyph(rng, LEAVES if kind < 0.75 else FLEURONS)
    return _ink(mask, rng)


def draw_band(rng: np.random.Generator, cuts: Sequence[Cut]) -> Array:
    """Return the ink of a band: repeated pieces of type, or repeated pieces of a band from ``cuts``."""
    rows, columns = int(rng.choice([1, 1, 1, 2, 2, 3])), int(rng.integers(8, 40))
    bands = [cut.ink for cut in cuts if cut.ink.shape[1] > 4 * cut.ink.shape[0]]
    if bands and rng.random() < 0.35:
        band = bands[rng.integers(len(bands))]
        wide = int(rng.uniform(0.4, 2) * band.shape[0])
        start = int(rng.integers(0, band.shape[1] - wide)) if wide < band.shape[1] else 0
        piece = resize(band[:, start : start + wide], max(4, int(40 * wide / band.shape[0])), 40)
        pieces = [piece, piece[:, ::-1]] if rng.random() < 0.6 else [piece]
        return np.tile(np.hstack(pieces), (1, max(2, columns // (2 * len(pieces))), 1))
    tiles = [_tile(rng) for _ in range(rng.integers(1, 4))]
    row = np.hstack([tiles[k % len(tiles)] for k in range(columns)])
    mask = np.vstack([row if k % 2 == 0 or rng.random() < 0.5 else row[::-1] for k in range(rows)])
    if rng.random() < 0.3:
        mask[[0, 1, 2, -3, -2, -1]] = 1
    return _ink(distort(mask, 1.5, rng), rng)


def draw_tailpiece(rng: np.random.Generator) -> Array:
    """Return the ink of a tailpiece: rows of type that get shorter from top to bottom."""
    widest, tile = int(rng.integers(3, 9)), _tile(rng)
    rows = []
    for count in range(widest, 0, -int(rng.integers(1, 3))):
        side = (widest - count) * tile.shape[1]
        rows.append(np.pad(np.tile(tile, (1, count)), ((0, 0), (side // 2, side - side // 2))))
    return _ink(np.vstack(rows), rng)


def draw_frame(rng: np.random.Generator, width: int, height: int) -> Array:
    """Return the ink of a frame around a page: pieces of type on its four sides. A frame is not an illustration."""
    broad = max(6, int(width * rng.uniform(0.012, 0.035)))
    tile = cv2.resize(_tile(rng), (broad, broad), interpolation=cv2.INTER_AREA)
    mask: Array = np.zeros((height, width), np.float32)
    row = np.tile(tile, (1, width // broad + 1))[:, :width]
    column = np.rot90(np.tile(tile, (1, height // broad + 1))[:, :height])
    mask[:broad], mask[-broad:] = row, row[::-1]
    mask[:, :broad], mask[:, -broad:] = column, column[:, ::-1]
    if rng.random() < 0.4:
        inner = broad + int(rng.integers(2, 6))
        cv2.rectangle(mask, (inner, inner), (width - inner, height - inner), 1, int(rng.integers(1, 3)))
    return _ink(mask, rng)


def draw_large_type(rng: np.random.Generator, height: int) -> Array:
    """Return the ink of a word in outlined, hatched or shaded type, which is not an illustration."""
    letters = np.pad(draw_letters(make_words(rng, 1), height, "DejaVuSerif-Bold.ttf"), 4)
    grown = cv2.dilate(letters, np.ones((3, 3)))
    y = np.arange(letters.shape[0])[:, None]
    hatched = letters * (np.sin(y * rng.uniform(0.8, 2.5)) > rng.uniform(-0.5, 0.5))
    shaded = np.maximum(grown - letters, np.roll(letters, (2, 2), (0, 1)) * (1 - letters))
    return _ink((np.maximum(hatched, grown - letters), shaded, grown)[rng.integers(3)].astype(np.float32), rng)


def _tile(rng: np.random.Generator) -> Array:
    """Return the mask of one piece of type, 40 by 40 pixels."""
    glyph, gap = draw_glyph(rng, TYPES), int(rng.integers(0, 8))
    tile = np.zeros((40, 40), np.float32)
    tile[gap // 2 : 40 - (gap - gap // 2), gap // 2 : 40 - (gap - gap // 2)] = cv2.resize(
        glyph, (40 - gap, 40 - gap), interpolation=cv2.INTER_AREA
    )
    return tile


def draw_line(rng: np.random.Generator, height: int) -> Array:
    """Return the ink of a line of text in large type, which is not an illustration."""
    words = make_words(rng, int(rng.integers(1, 4)), capitals=rng.random() < 0.7)
    return colour_mask(draw_letters(words, height, str(rng.choice(SERIFS))), BLACK, 0.95)


def _ink(mask: Array, rng: np.random.Generator) -> Array:
    colour = (BLACK, BROWN, RED)[rng.choice(3, p=(0.8, 0.15, 0.05))]
    return colour_mask(mask, colour, rng.uniform(0.75, 1))
