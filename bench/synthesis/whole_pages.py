"""Clear a page and set a new one on its paper: a title page, a page of a newspaper, a sheet of drawings."""

from collections.abc import Sequence

import numpy as np

from bench.synthesis.diagrams import draw_diagram
from bench.synthesis.drawings import draw_knot, draw_photograph, draw_plant, draw_survey
from bench.synthesis.ink import BLACK, BROWN, colour_mask, draw_ink, resize
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


def set_drawings(s: Setting, cuts: Sequence[Cut]) -> None:
    """Clear the page and fill it with rows of small drawings of one kind, mostly with words above or below each."""
    width, height = s.size
    if s.is_taken((0, 0, width, height)):
        return
    s.wipe((0, 0, width, height))
    draw = (draw_knot, draw_knot, draw_diagram, draw_plant, draw_survey)[s.rng.integers(5)]
    stretch = s.rng.uniform(1, 2)  # wider than high, as the places in a row often are
    columns, rows, above = int(s.rng.integers(1, 5)), int(s.rng.integers(2, 7)), bool(s.rng.random() < 0.5)
    wide, high = width // columns, int(height * s.rng.uniform(0.6, 0.95)) // rows
    small = max(6, int(high * s.rng.uniform(0.05, 0.12)))
    for row in range(rows):
        for column in range(columns):
            if s.rng.random() < 0.1:
                continue
            ink = draw(s.rng)
            ink = resize(ink, round(ink.shape[1] * stretch), ink.shape[0])
            share = s.rng.uniform(0.75, 1)
            factor = share * min(wide / ink.shape[1], (high - 3 * small) / ink.shape[0])
            ink = resize(ink, max(8, round(ink.shape[1] * factor)), max(8, round(ink.shape[0] * factor)))
            x = column * wide + int(s.rng.integers(0, max(1, wide - ink.shape[1])))
            y = row * high + 2 * small + int(s.rng.integers(0, max(1, high - 3 * small - ink.shape[0])))
            s.place(ink, lambda *_, spot=(x, y): spot, margin=0)
            if s.rng.random() < 0.7:
                words = draw_letters(make_words(s.rng, 2, capitals=False), small, str(s.rng.choice(SERIFS)))
                text = colour_mask(words[:, : wide - 4], (BLACK, BROWN)[s.rng.integers(2)], 0.8)
                line = max(0, y - small - 3) if above else y + ink.shape[0] + 3
                draw_ink(s.page, text, column * wide + 2, line)


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
