"""How a synthetic page is put together: which illustrations are set where, and what misleads around them."""

from collections.abc import Callable, Sequence

import numpy as np

from bench.synthesis.diagrams import draw_diagram
from bench.synthesis.distractors import rubricate, strew
from bench.synthesis.ink import Array, lay, resize
from bench.synthesis.ornaments import draw_band, draw_fleuron, draw_line, draw_tailpiece
from bench.synthesis.setting import Box, Place, Setting
from bench.synthesis.sheets import Cut, Sheet
from bench.synthesis.wear import age

MANUSCRIPTS = ("cremma", "mss15", "incunable15")
Step = Callable[[Setting, Sequence[Cut]], None]


def set_cut(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set an illustration of another page, in the text, or over it when it is a band."""
    ink, share = choose_cut(s.rng, cuts)
    wide = np.clip(share * s.rng.uniform(0.6, 1.5), 0.03, 0.92) * s.size[0]
    flat = ink.shape[1] > 3 * ink.shape[0]
    places: tuple[Place, ...] = (s.at_head, s.at_head, s.in_text) if flat else (s.anywhere, s.in_text, s.below)
    s.place(s.fit(ink, wide), places[s.rng.integers(3)])


def choose_cut(rng: np.random.Generator, cuts: Sequence[Cut]) -> tuple[Array, float]:
    """Return the ink of an illustration and its share of its page's width; each kind of document is as likely.

    It may be mirrored, wider or narrower than it was, paler or darker.
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
    """Set a diagram, mostly no wider than a column."""
    wide = s.size[0] * (s.rng.uniform(0.1, 0.35) if s.rng.random() < 0.7 else s.rng.uniform(0.3, 0.8))
    where = s.in_text if s.rng.random() < 0.7 else s.anywhere
    s.place(s.fit(draw_diagram(s.rng), wide), where, margin=int(s.rng.integers(0, 8)))


def set_band(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set a band, mostly as wide as the text and over it."""
    left, _, right, _ = s.block
    wide = (right - left) * (s.rng.uniform(0.9, 1.05) if s.rng.random() < 0.7 else s.rng.uniform(0.3, 0.9))
    s.place(s.fit(draw_band(s.rng, cuts), wide), s.at_head if s.rng.random() < 0.6 else s.in_text)


def set_tailpiece(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set rows of types that narrow to a point."""
    s.place(s.fit(draw_tailpiece(s.rng), s.size[0] * s.rng.uniform(0.06, 0.35)), s.below)


def set_fleuron(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set a single ornament, between or under the lines."""
    s.place(s.fit(draw_fleuron(s.rng), s.size[0] * s.rng.uniform(0.05, 0.16)), s.below)


def set_title(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set a title in large capitals, mostly with an ornament before it."""
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
    lay(s.page, line, start, y + max(0, (high - line.shape[0]) // 2))
    if start > x:
        s.place(ornament, lambda wide, high: (x, y), margin=0)


def set_title_page(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set lines of all sizes in the middle of an empty page, and a vignette or a plate among them."""
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
            lay(s.page, line, x, y)
        y += int(line.shape[0] * s.rng.uniform(1.4, 3))


# How often each is set on prints, and on manuscripts and the books of the time that were painted like them.
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
    """Return a page with its own illustrations and others, and with what is no illustration.

    Args:
        sheet: What to set on.
        cuts: Illustrations of the training pages.
        back: Another page, ``(h, w, 3)``, which may show through.
        rng: Where chance comes from.
    """
    s = Setting(sheet.pixels.copy(), [tuple(box) for box in sheet.boxes.round().astype(int).tolist()], rng)
    if rng.random() < 0.35:
        rubricate(s.page, s.paper, rng)
    if rng.random() < 0.65:
        strew(s.page, s.paper, s.boxes, rng)
    weights = np.array([pair[sheet.kind in MANUSCRIPTS] for pair in STEPS.values()])
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3])):
        list(STEPS)[rng.choice(len(STEPS), p=weights / weights.sum())](s, cuts)
    page = age(s.page, back, rng)
    boxes = [box for box in s.boxes if is_visible(page, box)]
    return Sheet(sheet.name, page, np.array(boxes, float).reshape(-1, 4))


def is_visible(page: Array, box: Box) -> bool:
    """Whether something is left in a box: faint lines vanish from a scan in two tones."""
    x1, y1, x2, y2 = box
    dark, light = np.percentile(page[y1:y2, x1:x2].mean(axis=2), (2, 90))
    return bool(light - dark > 18)
