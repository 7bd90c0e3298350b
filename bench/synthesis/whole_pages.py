"""Clear a page and set a new one on its paper: a title page, a page of a newspaper."""

from collections.abc import Sequence

import numpy as np

from bench.synthesis.drawings import draw_photograph
from bench.synthesis.ink import BLACK, colour_mask, draw_ink
from bench.synthesis.letters import SERIFS, draw_letters, make_words
from bench.synthesis.ornaments import draw_fleuron, draw_line
from bench.synthesis.setting import Setting
from bench.synthesis.sheets import Cut, choose_cut


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


def set_newspaper(s: Setting, cuts: Sequence[Cut]) -> None:
    """Clear the page and make it a page of a newspaper: narrow columns in small type, few and small pictures."""
    width, height = s.size
    if s.is_taken((0, 0, width, height)):
        return
    s.wipe((0, 0, width, height))
    columns, gap, head = int(s.rng.integers(3, 7)), int(width * 0.012), int(height * s.rng.uniform(0.04, 0.18))
    wide = (width - 2 * gap) // columns - gap
    title = draw_letters(make_words(s.rng, 2), int(head * 0.5), str(s.rng.choice(SERIFS)))[:, : width - 4 * gap]
    draw_ink(s.page, colour_mask(title, BLACK, 0.95), 2 * gap, head // 4)
    for column in range(columns):
        left = gap + column * (wide + gap)
        if column and s.rng.random() < 0.9:
            draw_ink(s.page, np.full((height - head - gap, 1, 3), 0.3, np.float32), left - gap // 2, head)
        _fill_column(s, cuts, (left, head, left + wide, height - gap))


def _fill_column(s: Setting, cuts: Sequence[Cut], box: tuple[int, int, int, int]) -> None:
    left, y, right, bottom = box
    small = int(s.rng.integers(6, 10))
    while y < bottom - 3 * small:
        kind = s.rng.random()
        if kind < 0.015:
            ink = choose_cut(s.rng, cuts)[0] if s.rng.random() < 0.6 else draw_photograph(s.rng)
            ink = s.fit(ink, (right - left) * s.rng.uniform(0.4, 1))
            if y + ink.shape[0] < bottom:
                spot = ((left + right - ink.shape[1]) // 2, y)
                s.place(ink, lambda *_, spot=spot: spot, margin=1)
                y += ink.shape[0] + small
            continue
        size = int(small * s.rng.uniform(1.3, 3)) if kind < 0.08 else small
        y += _set_line(s, (left, y, right), size)


def _set_line(s: Setting, line: tuple[int, int, int], size: int) -> int:
    """Draw a line of text between two edges; return its height."""
    left, y, right = line
    text = draw_letters(make_words(s.rng, 9, capitals=size > 10), size, SERIFS[0])[:, : right - left]
    draw_ink(s.page, colour_mask(text, BLACK, 0.85), left, y)
    return int(size * 1.35)
