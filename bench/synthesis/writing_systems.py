"""Clear a page and set it in another writing system: Arabic, Greek, East Asian columns, palm leaves.

There are no labelled pages in these. Arabic and Greek letters are those of a font. The glyphs of East Asian columns and
palm leaves are random strokes and arcs, because matplotlib has no font with them.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from bench.synthesis.diagrams import draw_diagram
from bench.synthesis.drawings import draw_plant
from bench.synthesis.ink import BLACK, BROWN, RED, Array, colour_mask, draw_ink
from bench.synthesis.letters import draw_letters
from bench.synthesis.setting import Box, Setting
from bench.synthesis.sheets import Cut, choose_cut

# Arabic letters that join on both sides. In Unicode, four forms follow each other: isolated, final, initial, medial.
ARABIC = (0xFE8F, *range(0xFE95, 0xFEA9, 4), *range(0xFEB1, 0xFEED, 4), 0xFEF1)
ALEF = "\ufe8d"
GREEK = "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ"
GLYPHS = 48  # different glyphs on a page
GLYPH_SIDE = 48  # pixels in which a glyph is drawn

MakeWord = Callable[[np.random.Generator], str]


def set_arabic(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set a page in Arabic letters, mostly in a frame of ruled lines."""
    _set_lines(s, cuts, _make_arabic_word, "DejaVuSans.ttf", framed=0.6, from_right=True)


def set_greek(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set a page in Greek letters."""
    font = str(s.rng.choice(["DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf"]))
    _set_lines(s, cuts, _make_greek_word, font, framed=0.1)


def set_columns(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set a page in East Asian columns, mostly in a frame and often with rules between the columns."""
    box = _clear(s)
    if box is None:
        return
    left, top, right, bottom = box
    glyphs, side = [_draw_character(s.rng) for _ in range(GLYPHS)], int(s.size[1] * s.rng.uniform(0.014, 0.05))
    if s.rng.random() < 0.8:
        _frame(s, box)
    _illustrate(s, cuts, box, s.rng.choice([0.0, 0.0, 0.5, 1.0]))
    step, ruled, commented = int(side * s.rng.uniform(1.1, 1.8)), s.rng.random() < 0.5, s.rng.random() < 0.3
    for x in range(right - step, left, -step):
        end = bottom if s.rng.random() < 0.8 else int(s.rng.integers((top + bottom) // 2, bottom))
        comment_top = int(s.rng.integers(top, end)) if commented else end  # two columns of small characters
        _print_column(s, glyphs, (x, top + 3, x + side, comment_top))
        for half in (x, x + side // 2):
            _print_column(s, glyphs, (half, comment_top, half + side // 2, end))
        if ruled:
            _print(s, np.full((bottom - top, 1), 0.6, np.float32), (x - (step - side) // 2, top, x, bottom), BLACK)


def _print_column(s: Setting, glyphs: Sequence[Array], box: Box) -> None:
    left, top, right, bottom = box
    if (count := (bottom - top) // (right - left)) > 0:
        chosen = [glyphs[n] for n in s.rng.integers(len(glyphs), size=count)]
        _print(s, _join(chosen, right - left).swapaxes(0, 1), box, BLACK)


def set_leaves(s: Setting, cuts: Sequence[Cut]) -> None:
    """Set palm leaves below each other, with round letters, string holes and a few pictures."""
    width, height = s.size
    if s.boxes:
        return
    s.page[:] = s.rng.choice([15, 40, 200, 240]) + s.rng.normal(0, 2, (height, width, 1))
    high = int(height * s.rng.uniform(0.07, 0.2))
    glyphs = [_draw_round_letter(s.rng) for _ in range(GLYPHS)]
    tint = np.array([s.rng.uniform(170, 225), s.rng.uniform(130, 190), s.rng.uniform(80, 150)])
    first = int(s.rng.integers(4, high if s.rng.random() < 0.7 else height - high))
    leaves = [
        (int(s.rng.integers(4, width // 14)), y, width - int(s.rng.integers(4, width // 14)), y + high)
        for y in range(first, height - high, int(high * s.rng.uniform(1.08, 1.5)))
    ]
    for left, top, right, bottom in leaves:
        s.page[top:bottom, left:right] = tint + s.rng.normal(0, 5, (high, 1, 1))
    s.paper = s.page.copy()
    for leaf in leaves:
        _write_leaf(s, cuts, leaf, glyphs)


def _write_leaf(s: Setting, cuts: Sequence[Cut], leaf: Box, glyphs: Sequence[Array]) -> None:
    left, top, right, bottom = leaf
    lines = int(s.rng.integers(3, 8))
    side = max(5, (bottom - top) // (lines + 1))
    for place in ((0.5,), (0.3, 0.7))[s.rng.integers(2)]:
        centre = (int(left + place * (right - left)), (top + bottom) // 2)
        cv2.circle(s.page, centre, max(2, side // 3), (30.0, 25.0, 20.0), -1)
    if s.rng.random() < 0.2:
        ink = _choose_picture(s, cuts)
        tall = (bottom - top) * s.rng.uniform(0.6, 0.95)
        ink = s.fit(ink, min(0.4 * (right - left), tall * ink.shape[1] / ink.shape[0]))
        if ink.shape[0] > 0.4 * (bottom - top):
            free = right - left - ink.shape[1]
            spot = left + int(free * s.rng.uniform(0.02, 0.98)), top + (bottom - top - ink.shape[0]) // 2
            s.place(ink, lambda *_: spot, margin=1)
    for y in range(top + side // 2, top + side // 2 + lines * side, side):
        row = _join([glyphs[n] for n in s.rng.integers(GLYPHS, size=(right - left) // side)], int(side * 0.8))
        _print(s, row, (left + side, y, right - side, y + side), BROWN)


def _set_lines(
    s: Setting, cuts: Sequence[Cut], make_word: MakeWord, font: str, framed: float, from_right: bool = False
) -> None:
    box = _clear(s)
    if box is None:
        return
    left, top, right, bottom = box
    if s.rng.random() < framed:
        _frame(s, box)
    _illustrate(s, cuts, box, s.rng.choice([0.0, 0.0, 0.35, 0.7]))
    size, ink = int(s.size[1] * s.rng.uniform(0.012, 0.035)), BLACK if s.rng.random() < 0.7 else BROWN
    columns = int(s.rng.choice([1, 1, 2]))
    wide = (right - left) // columns
    for y in range(top + size, bottom - 2 * size, int(size * s.rng.uniform(1.5, 2.6))):
        for column in range(columns):
            length = wide - 12 if s.rng.random() < 0.9 else int(wide * s.rng.uniform(0.3, 0.9))
            line = _draw_line(s.rng, make_word, size, font, length)
            x = left + column * wide + 6 + (wide - 12 - line.shape[1] if from_right else 0)
            colour = RED if s.rng.random() < 0.04 else ink
            _print(s, line, (x, y, x + line.shape[1], y + line.shape[0]), colour)


def _draw_line(rng: np.random.Generator, make_word: MakeWord, size: int, font: str, length: int) -> Array:
    """Return the mask of as many words as fit into a length in pixels, but at least one."""
    words = [make_word(rng) for _ in range(1 + length // size)]
    while (line := draw_letters(" ".join(words), size, font)).shape[1] > length and len(words) > 1:
        words = words[: max(1, min(len(words) - 1, len(words) * length // line.shape[1]))]
    return line


def _make_arabic_word(rng: np.random.Generator) -> str:
    """Return letters in the order in which they are drawn, from left to right."""
    letters = rng.choice(ARABIC, rng.integers(2, 6)).tolist()
    joined = [letters[0] + 1, *(letter + 3 for letter in letters[1:-1]), letters[-1] + 2]
    return "".join(map(chr, joined)) + (ALEF if rng.random() < 0.4 else "")


def _make_greek_word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(GREEK), rng.integers(2, 8)))


def _clear(s: Setting) -> Box | None:
    """Clear the page; return the box of its new text, or None if illustrations are in the way."""
    width, height = s.size
    if s.boxes:
        return None
    s.wipe((0, 0, width, height))
    sides = s.rng.uniform(0.05, 0.16, 4)
    return int(width * sides[0]), int(height * sides[1]), int(width * (1 - sides[2])), int(height * (1 - sides[3]))


def _frame(s: Setting, box: Box) -> None:
    left, top, right, bottom = box
    colour = [(0.2, 0.2, 0.2), RED, (0.2, 0.3, 0.6), (0.7, 0.55, 0.2)][s.rng.choice(4, p=[0.55, 0.2, 0.1, 0.15])]
    mask: Array = np.zeros(s.page.shape[:2], np.float32)
    for gap in range(4, 4 + int(s.rng.integers(1, 4)) * 3, 3):
        thick = int(s.rng.integers(1, 4))
        cv2.rectangle(mask, (left - gap, top - gap), (right + gap, bottom + gap), 1, thick)
    draw_ink(s.page, colour_mask(mask, colour, 0.9), 0, 0)


def _illustrate(s: Setting, cuts: Sequence[Cut], box: Box, share: float) -> None:
    """Place a picture at most as wide as a share of the text, at its top or anywhere in it; none for a share of 0."""
    left, top, right, bottom = box
    if not share:
        return

    def place(wide: int, high: int) -> tuple[int, int]:
        free = max(1, right - left - wide), max(1, bottom - top - high)
        return left + int(s.rng.integers(free[0])), top + (3 if at_top else int(s.rng.integers(free[1])))

    at_top = s.rng.random() < 0.4
    s.place(s.fit(_choose_picture(s, cuts), share * (right - left) * s.rng.uniform(0.6, 0.98)), place, margin=4)


def _choose_picture(s: Setting, cuts: Sequence[Cut]) -> Array:
    kind = s.rng.random()
    return choose_cut(s.rng, cuts)[0] if kind < 0.7 else draw_diagram(s.rng) if kind < 0.85 else draw_plant(s.rng)


def _print(s: Setting, mask: Array, box: Box, colour: tuple[float, float, float]) -> None:
    """Print a mask in a box, cut off at its edges, except where an illustration is."""
    left, top, right, bottom = box
    mask = mask[: max(0, bottom - top), : max(0, right - left)].copy()
    for x1, y1, x2, y2 in s.boxes:
        mask[max(0, y1 - 4 - top) : max(0, y2 + 4 - top), max(0, x1 - 4 - left) : max(0, x2 + 4 - left)] = 0
    if mask.size:
        draw_ink(s.page, colour_mask(mask, colour, 0.9), left, top)


def _join(glyphs: Sequence[Array], side: int) -> Array:
    """Join glyphs to a line, one after the other."""
    return np.concatenate([cv2.resize(glyph, (side, side), interpolation=cv2.INTER_AREA) for glyph in glyphs], axis=1)


def _draw_character(rng: np.random.Generator) -> Array:
    """Return a square character of straight strokes, transposed for :func:`set_columns`."""
    mask: Array = np.zeros((GLYPH_SIDE, GLYPH_SIDE), np.float32)
    for _ in range(rng.integers(5, 14)):
        start = rng.integers(3, GLYPH_SIDE - 12, 2)
        reach = rng.integers(10, 40)
        directions = ((1, 0), (1, 0), (0, 1), (0, 1), (0.5, 0.5), (-0.5, 0.5))
        end = np.clip(start + np.multiply(directions[rng.integers(6)], reach).astype(int), 3, GLYPH_SIDE - 4)
        cv2.line(mask, start.tolist(), end.tolist(), 1, int(rng.integers(2, 5)), cv2.LINE_AA)
    return mask


def _draw_round_letter(rng: np.random.Generator) -> Array:
    """Return a letter of arcs, as in scripts that were scratched into palm leaves."""
    mask: Array = np.zeros((GLYPH_SIDE, GLYPH_SIDE), np.float32)
    for _ in range(rng.integers(2, 4)):
        centre, axes = rng.integers(14, GLYPH_SIDE - 14, 2), rng.integers(5, 16, 2)
        begin = int(rng.integers(360))
        end = begin + int(rng.integers(120, 360))
        cv2.ellipse(mask, centre.tolist(), axes.tolist(), 0, begin, end, 1, 3, cv2.LINE_AA)
    return mask


WRITING_SYSTEMS = (set_arabic, set_greek, set_columns, set_leaves)
