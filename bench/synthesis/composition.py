"""Compose a synthetic page: choose its illustrations and distractors, and place them."""

from collections.abc import Callable, Sequence

import numpy as np

from bench.synthesis.beds import lay_on_bed
from bench.synthesis.diagrams import draw_diagram
from bench.synthesis.distractors import add_distractors, rubricate
from bench.synthesis.drawings import draw_photograph, draw_plant, draw_roundel, draw_survey
from bench.synthesis.handwriting import set_letter
from bench.synthesis.ink import Array, draw_ink
from bench.synthesis.ornaments import draw_band, draw_fleuron, draw_frame, draw_line, draw_tailpiece
from bench.synthesis.setting import Box, Place, Setting
from bench.synthesis.sheets import Cut, Sheet, choose_cut
from bench.synthesis.wear import age
from bench.synthesis.whole_pages import set_newspaper, set_title_page
from bench.synthesis.writing_systems import set_arabic, set_columns, set_greek, set_leaves

MANUSCRIPTS = ("cremma", "mss15", "incunable15")
Step = Callable[[Setting, Sequence[Cut]], None]


def set_cut(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place an illustration cut from another page in the text; a band goes mostly above the text."""
    ink, share = choose_cut(s.rng, cuts)
    wide = np.clip(share * s.rng.uniform(0.6, 1.5), 0.03, 0.92) * s.size[0]
    flat = ink.shape[1] > 3 * ink.shape[0]
    places: tuple[Place, ...] = (s.at_head, s.at_head, s.in_text) if flat else (s.anywhere, s.in_text, s.below)
    s.place(s.fit(ink, wide), places[s.rng.integers(3)])


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


def set_plant(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a plant, often as high as the page."""
    s.place(
        s.fit(draw_plant(s.rng), s.size[0] * s.rng.uniform(0.2, 0.85)), s.in_text, margin=int(s.rng.integers(0, 10))
    )


def set_survey(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a survey in thin lines."""
    where = s.in_text if s.rng.random() < 0.7 else s.anywhere
    s.place(s.fit(draw_survey(s.rng), s.size[0] * s.rng.uniform(0.2, 0.8)), where, margin=int(s.rng.integers(0, 8)))


def set_roundel(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place one to four roundels of the same size."""
    wide = s.size[0] * s.rng.uniform(0.08, 0.4)
    for _ in range(s.rng.choice([1, 1, 2, 4])):
        s.place(s.fit(draw_roundel(s.rng, choose_cut(s.rng, cuts)[0]), wide), s.in_text)


def set_photograph(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a photograph in print."""
    s.place(s.fit(draw_photograph(s.rng), s.size[0] * s.rng.uniform(0.15, 0.9)), s.in_text)


def set_fleuron(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a single ornament below the text or in its lower half."""
    s.place(s.fit(draw_fleuron(s.rng), s.size[0] * s.rng.uniform(0.05, 0.16)), s.below)


def set_frame(s: Setting, cuts: Sequence[Cut]) -> None:
    """Place a frame of type around the text. It is not an illustration."""
    left, top, right, bottom = s.block
    out, broad = int(s.size[0] * s.rng.uniform(0.02, 0.08)), int(s.size[0] * 0.04)
    x, y = max(2, left - out), max(2, top - out)
    frame = draw_frame(s.rng, min(s.size[0] - 2, right + out) - x, min(s.size[1] - 2, bottom + out) - y)
    end_x, end_y = x + frame.shape[1], y + frame.shape[0]
    upper_and_lower = (x, y, end_x, y + broad), (x, end_y - broad, end_x, end_y)
    left_and_right = (x, y, x + broad, end_y), (end_x - broad, y, end_x, end_y)
    if not any(map(s.is_taken, (*upper_and_lower, *left_and_right))):
        draw_ink(s.page, frame, x, y)


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


# Relative frequency of each step: on prints, and on manuscripts and illuminated incunables (`MANUSCRIPTS`).
STEPS: dict[Step, tuple[float, float]] = {
    set_cut: (0.45, 0.5),
    set_diagram: (0.12, 0.38),
    set_band: (0.18, 0.06),
    set_title: (0.12, 0.04),
    set_tailpiece: (0.08, 0.03),
    set_fleuron: (0.09, 0.03),
    set_title_page: (0.1, 0.04),
    set_plant: (0.06, 0.16),
    set_survey: (0.05, 0.08),
    set_roundel: (0.05, 0.1),
    set_photograph: (0.02, 0.0),
    set_newspaper: (0.08, 0.0),
    set_columns: (0.16, 0.08),
    set_leaves: (0.08, 0.1),
    set_arabic: (0.06, 0.1),
    set_greek: (0.04, 0.06),
    set_letter: (0.08, 0.2),
    set_frame: (0.12, 0.02),
}


def set_page(sheet: Sheet, cuts: Sequence[Cut], back: Array, rng: np.random.Generator) -> Sheet:
    """Return a synthetic page made from a training page: its own illustrations, more illustrations, and distractors.

    Args:
        sheet: Training page to draw on.
        cuts: Illustrations cut from the training pages.
        back: Another page, ``(h, w, 3)`` uint8, that may show through from the back.
        rng: Random generator.
    """
    s = Setting(sheet.pixels.astype(np.float32), [tuple(box) for box in sheet.boxes.round().astype(int).tolist()], rng)
    if rng.random() < 0.35:
        rubricate(s.page, s.paper, rng)
    if rng.random() < 0.65:
        add_distractors(s.page, s.paper, s.boxes, rng)
    weights = np.array([pair[sheet.kind in MANUSCRIPTS] for pair in STEPS.values()])
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3])):
        list(STEPS)[rng.choice(len(STEPS), p=weights / weights.sum())](s, cuts)
    return finish_page(s, sheet.name, back)


def finish_page(s: Setting, name: str, back: Array) -> Sheet:
    """Return a page with damage of age, and with the illustrations that are then visible.

    Args:
        s: Page.
        name: Name of the result.
        back: Another page, ``(h, w, 3)`` uint8, which may show through from the back.
    """
    page = age(s.page, back.astype(np.float32), s.rng)
    boxes = np.array([box for box in s.boxes if is_visible(page, box)], float).reshape(-1, 4)
    if s.rng.random() < 0.15:
        page, boxes = lay_on_bed(page, boxes, s.rng)
    return Sheet(name, page.astype(np.uint8), boxes)


def is_visible(page: Array, box: Box) -> bool:
    """Return whether at least 3 % of a box are visibly dark: faint lines may vanish in a two-tone scan."""
    x1, y1, x2, y2 = box
    dark, light = np.percentile(page[y1:y2, x1:x2].mean(axis=2), (3, 90))
    return bool(light - dark > 18)
