"""Draw letters and glyphs as masks."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.synthesis.ink import Array

SERIFS = ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSerif-Italic.ttf", "STIXGeneral.ttf", "cmr10.ttf")
GLYPHS = "DejaVuSans.ttf"
ALPHABET = list("AABCDEEFGHILMNOPQRSTVX")


@lru_cache(maxsize=512)
def _load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    # The same on every machine: the other layout of Pillow depends on a library of the system.
    layout = ImageFont.Layout.BASIC
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / name, size, layout_engine=layout)


def draw_letters(text: str, height: int, font: str) -> Array:
    """Return the mask of a text, without margins.

    Args:
        text: Text to draw.
        height: Size of the font in pixels; smaller values than 6 count as 6.
        font: File name of one of matplotlib's fonts.
    """
    face = _load_font(font, max(6, height))
    left, top, right, bottom = face.getbbox(text)
    image = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(image).text((-left, -top), text, 255, face)
    return np.asarray(image, np.float32) / 255


def make_words(rng: np.random.Generator, words: int, capitals: bool = True) -> str:
    """Return a number of random words."""
    drawn = ["".join(rng.choice(ALPHABET, rng.integers(2, 9))) for _ in range(words)]
    return " ".join(drawn if capitals else map(str.lower, drawn))
