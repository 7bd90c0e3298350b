"""The picture of models/illustrations.md: drawn examples of what is an illustration, and of what is not."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.synthesis.diagrams import draw_diagram
from bench.synthesis.distractors import draw_filler, draw_initial, draw_stamp, draw_table, draw_vine
from bench.synthesis.drawings import draw_photograph, draw_plant, draw_survey
from bench.synthesis.ink import Array
from bench.synthesis.ornaments import draw_band, draw_fleuron, draw_line, draw_tailpiece

PAPER = (246, 240, 226)
CELL, LABEL, COLUMNS = 140, 26, 7
FOUND, LEFT_OUT = (0, 128, 60), (190, 30, 30)
Draw = Callable[[np.random.Generator], Array]

# Seeds were chosen by eye, so that each drawing is typical.
ILLUSTRATIONS: Mapping[str, tuple[Draw, int]] = {
    "plant": (draw_plant, 4),
    "diagram": (draw_diagram, 3),
    "survey": (draw_survey, 2),
    "printed photograph": (draw_photograph, 3),
    "headpiece": (lambda rng: draw_band(rng, []), 2),
    "tailpiece": (draw_tailpiece, 1),
    "title ornament": (draw_fleuron, 5),
}
OTHERS: Mapping[str, tuple[Draw, int]] = {
    "decorated initial": (lambda rng: draw_initial(rng, 140), 3),
    "plain initial": (lambda rng: draw_initial(rng, 140), 12),
    "line filler": (lambda rng: draw_filler(rng, 150, 24), 2),
    "border, vine": (lambda rng: draw_vine(rng, 160, 40), 1),
    "stamp, seal": (lambda rng: draw_stamp(rng, 140), 1),
    "table": (lambda rng: draw_table(rng, 150, 120), 1),
    "large type": (lambda rng: draw_line(rng, 34), 1),
}


def draw_rule() -> Image.Image:
    """Draw two groups of examples, each with its name."""
    groups = (("Illustrations", ILLUSTRATIONS, FOUND), ("Not illustrations", OTHERS, LEFT_OUT))
    heights = [40 + -(-len(examples) // COLUMNS) * (CELL + LABEL) for _, examples, _ in groups]
    sheet = Image.new("RGB", (COLUMNS * CELL, sum(heights)), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for (title, examples, colour), height in zip(groups, heights, strict=True):
        draw.text((8, top + 8), title, fill=colour, font=ImageFont.load_default(22))
        for place, (name, (drawing, seed)) in enumerate(examples.items()):
            x, y = place % COLUMNS * CELL, top + 40 + place // COLUMNS * (CELL + LABEL)
            sheet.paste(_draw_cell(drawing(np.random.default_rng(seed)), colour), (x + 6, y))
            draw.text((x + 8, y + CELL - 6), name, fill=(30, 30, 30), font=ImageFont.load_default(13))
        top += height
    return sheet


def _draw_cell(ink: Array, colour: tuple[int, int, int]) -> Image.Image:
    """Draw ink on paper in a frame, as large as the cell allows."""
    side, room = CELL - 12, CELL - 36
    factor = min(room / ink.shape[0], room / ink.shape[1])
    size = max(1, round(ink.shape[1] * factor)), max(1, round(ink.shape[0] * factor))
    ink = np.clip(cv2.resize(ink, size, interpolation=cv2.INTER_AREA), 0, 1)
    page = np.ones((side, side, 3), np.float32) * PAPER
    x, y = (side - size[0]) // 2, (side - size[1]) // 2
    page[y : y + size[1], x : x + size[0]] *= ink
    cell = Image.fromarray(page.astype(np.uint8))
    ImageDraw.Draw(cell).rectangle((0, 0, side - 1, side - 1), outline=colour, width=2)
    return cell
