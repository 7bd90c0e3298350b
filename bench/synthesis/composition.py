"""Compose a synthetic page: choose its illustrations and distractors, and place them."""

from collections.abc import Callable, Sequence

import numpy as np

from bench.synthesis.diagrams import draw_diagram
from bench.synthesis.distractors import add_distractors, rubricate
from bench.synthesis.ink import Array, draw_ink, resize
from bench.synthesis.ornaments import draw_band, draw_fleuron, draw_line, draw_tailpiece
from bench.synthesis.setting import Box, Place, Setting
from bench.synthesis.sheets import Cut, Sheet
from bench.synthesis.wear import age

MANUSCRIPTS = ("cremma", "mss15", "incunable15")
Step = Callable[[Setting, Sequence[Cut]], None]


def set_cut(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place an illustration cut from another page in the text; a band goes mostly above the text."""
    ink, share = choose_cut(s.rng, cuts)
    wide = np.clip(share * s.rng.uniform(0.6, 1.5), 0.03, 0.92) * s.size[0]
    flat = ink.shape[1] > 3 * ink.shape[0]
    places: tuple[Place, ...] = (s.at_head, s.at_head, s.in_text) if flat else (s.anywhere, s.in_text, s.below)
    s.place(s.fit(ink, wide), places[s.rng.integers(3)])


def choose_cut(rng: np.random.Generator, cuts: Sequence[Cut]) -> tuple[Array, float]:
    """Choose an illustration at random, each kind of document with the same probability.

    The illustration may be mirrored, stretched, lightened or darkened.

    Returns:
        Its ink, and its original width as a share of its page's width.
    """
    kinds = sorted({cut.kind for cut in cuts})
    kind = kinds[rng.integers(len(kinds))]
    chosen = [cut for cut in cuts if cut.kind == kind]
    cut = chosen[rng.integers(len(chosen))]
    ink = cut.ink[:, ::-1] if rng.random() < 0.5 else cut.ink
    if rng.random() < 0.3:
        ink = resize(ink, max(8, round(ink.shape[1] * rng.uniform(0.75, 1.3))), ink.shape[0])
    return np.power(ink, rng.uniform(0.6, 1.2)), cut.share


def set_diagram(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a diagram, mostly no wider than a column."""
    wide = s.size[0] * (s.rng.uniform(0.1, 0.35) if s.rng.random() < 0.7 else s.rng.uniform(0.3, 0.8))
    where = s.in_text if s.rng.random() < 0.7 else s.anywhere
    s.place(s.fit(draw_diagram(s.rng), wide), where, margin=int(s.rng.integers(0, 8)))


def set_band(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a band of ornaments, mostly above the text and as wide as the text."""
    left, _, right, _ = s.block
    wide = (right - left) * (s.rng.uniform(0.9, 1.05) if s.rng.random() < 0.7 else s.rng.uniform(0.3, 0.9))
    s.place(s.fit(draw_band(s.rng, cuts), wide), s.at_head if s.rng.random() < 0.6 else s.in_text)


def set_tailpiece(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a tailpiece below the text or in its lower half."""
    s.place(s.fit(draw_tailpiece(s.rng), s.size[0] * s.rng.uniform(0.06, 0.35)), s.below)


def set_fleuron(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a single ornament below the text or in its lower half."""
    s.place(s.fit(draw_fleuron(s.rng), s.size[0] * s.rng.uniform(0.05, 0.16)), s.below)


def set_title(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a title in large type, mostly with an ornament in front of it."""
    width, height = s.size
    tall = int(height * s.rng.uniform(0.022, 0.05))
    x, y = int(width * s.rng.uniform(0.08, 0.25)), int(height * s.rng.uniform(0.06, 0.5))
    ornament = draw_fleuron(s.rng)
    ornament = s.fit(ornament, ornament.shape[1] * tall * s.rng.uniform(0.8, 1.4) / ornament.shape[0])
    high, wide = ornament.shape[:2]
    start = x + wide + int(s.rng.integers(2, 12)) if s.rng.random() < 0.85 else x
    line = draw_line(s.rng, tall)[:, : max(8, width - start - 6)]
    box = (x, y - 4, start + line.shape[1], y + max(high, line.shape[0]) + 4)
    if s.is_taken(box) or box[3] > height - 4 or start > width - 10:
        return
    s.wipe(box)
    draw_ink(s.page, line, start, y + max(0, (high - line.shape[0]) // 2))
    if start > x:
        s.place(ornament, lambda wide, high: (x, y), margin=0)


def set_title_page(s: Setting, cuts: Sequence[Cut]) -> None:
    """Clear the page and make it a title page: centred lines of several sizes, and a vignette or a plate."""
    width, height = s.size
    left, top, right, bottom = s.block
    plate = s.rng.random() < 0.3
    if s.is_taken((0, 0, width, height)):
        return
    s.wipe((max(0, left - width // 12), max(0, top - height // 12), right + width // 12, bottom + height // 12))
    ink, _ = choose_cut(s.rng, cuts) if s.rng.random() < 0.7 else (draw_fleuron(s.rng), 0)
    share = s.rng.uniform(0.5, 0.95) if plate else s.rng.uniform(0.08, 0.5)
    ink = s.fit(ink, share * width)
    picture = int(height * (s.rng.uniform(0.08, 0.2) if plate else s.rng.uniform(0.3, 0.7)))
    s.place(ink, lambda wide, high: ((left + right - wide) // 2, min(picture, height - high - 3)))
    y = int(height * s.rng.uniform(0.06, 0.15))
    while y < height * 0.88:
        line = draw_line(s.rng, int(height * s.rng.choice([0.014, 0.018, 0.025, 0.04])))
        line = line[:, : int(0.8 * width)]
        x = max(3, (left + right - line.shape[1]) // 2)
        if not s.is_taken((x, y, x + line.shape[1], y + line.shape[0])) and s.rng.random() < (0.2 if plate else 0.9):
            draw_ink(s.page, line, x, y)
        y += int(line.shape[0] * s.rng.uniform(1.4, 3))


# Relative frequency of each step: on prints, and on manuscripts and illuminated incunables (`MANUSCRIPTS`).
STEPS: dict[Step, tuple[float, float]] = {
    set_cut: (0.33, 0.42),
    set_diagram: (0.12, 0.38),
    set_band: (0.18, 0.06),
    set_title: (0.12, 0.04),
    set_tailpiece: (0.08, 0.03),
    set_fleuron: (0.09, 0.03),
    set_title_page: (0.08, 0.04),
}


def set_page(sheet: Sheet, cuts: Sequence[Cut], back: Array, rng: np.random.Generator) -> Sheet:
    """Return a synthetic page made from a training page: its own illustrations, more illustrations, and distractors.

    Args:
        sheet: Training page to draw on.
        cuts: Illustrations cut from the training pages.
        back: Another page, ``(h, w, 3)``, that may show through from the back.
        rng: Random generator.
    """
    s = Setting(sheet.pixels.copy(), [tuple(box) for box in sheet.boxes.round().astype(int).tolist()], rng)
    if rng.random() < 0.35:
        rubricate(s.page, s.paper, rng)
    if rng.random() < 0.65:
        add_distractors(s.page, s.paper, s.boxes, rng)
    weights = np.array([pair[sheet.kind in MANUSCRIPTS] for pair in STEPS.values()])
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3])):
        list(STEPS)[rng.choice(len(STEPS), p=weights / weights.sum())](s, cuts)
    page = age(s.page, back, rng)
    boxes = [box for box in s.boxes if is_visible(page, box)]
    return Sheet(sheet.name, page, np.array(boxes, float).reshape(-1, 4))


def is_visible(page: Array, box: Box) -> bool:
    """Return whether a box still has visible contrast: faint lines may vanish in a two-tone scan."""
    x1, y1, x2, y2 = box
    dark, light = np.percentile(page[y1:y2, x1:x2].mean(axis=2), (2, 90))
    return bool(light - dark > 18)
