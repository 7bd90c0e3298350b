"""A woodblock: draw lines, hatched shapes and letters on it, and print it.

Points are ``(n, 2)`` arrays of ``x y`` in page pixels, from the top left corner of the block. Angles are clockwise, in
degrees.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CUT = 2  # block pixels per page pixel
Field = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (x, y) → a value for each point
Points = np.ndarray | list


class Block:
    """A woodblock. Later shapes cover earlier ones.

    Attributes:
        width: Width in page pixels.
        height: Height in page pixels.
        font: Font file of the letters.
        image: Surface of the block, ``CUT`` times as large; pixels of 255 print, pixels of 0 do not.
    """

    def __init__(self, width: int, height: int, font: Path) -> None:
        """Create an empty block, which prints nothing."""
        self.width, self.height, self.font = width, height, font
        self.image = Image.new("L", (width * CUT, height * CUT))

    def line(self, points: Points, width: float = 3, ink: int = 255) -> None:
        """Draw a polyline; with ``ink`` 0, erase along it."""
        flat = (np.asarray(points, float) * CUT).ravel().tolist()
        ImageDraw.Draw(self.image).line(flat, fill=ink, width=round(width * CUT), joint="curve")

    def shape(
        self, points: Points, tone: float | Field = 0, rule: float | Field = 0, edge: float = 3, pitch: float = 8
    ) -> None:
        """Draw a polygon and hatch it.

        Args:
            points: Corners of the polygon.
            tone: Share of ink, from 0 to 1; a number or a field.
            rule: Direction of the hatching, as an angle, or as a field of its phase in pixels.
            edge: Width of the outline; 0 draws none.
            pitch: Distance between the lines of the hatching.
        """
        p = np.asarray(points, float) * CUT
        low = np.maximum(p.min(axis=0), 0).astype(int)
        high = np.minimum(p.max(axis=0) + 2, self.image.size).astype(int)
        mask = Image.new("L", (int(high[0] - low[0]), int(high[1] - low[1])))
        ImageDraw.Draw(mask).polygon((p - low).ravel().tolist(), fill=255)
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]] / CUT
        phase = rule(x, y) if callable(rule) else y * np.cos(np.radians(rule)) - x * np.sin(np.radians(rule))
        ink = (phase / pitch) % 1 < (tone(x, y) if callable(tone) else tone)
        self.image.paste(Image.fromarray(ink.astype(np.uint8) * 255), tuple(low.tolist()), mask)
        if edge:
            self.line(np.vstack([points, points[:1]]), edge)

    def letter(self, text: str, x: float, y: float, size: float, turn: float = 0) -> None:
        """Draw letters centred at a point, rotated by ``turn`` degrees."""
        room = round(size * CUT * (len(text) + 1))
        tile = Image.new("L", (room, room))
        font = ImageFont.truetype(self.font, size * CUT)
        ImageDraw.Draw(tile).text((room / 2, room / 2), text, 255, font, "mm", stroke_width=1)
        tile = tile.rotate(-turn, Image.Resampling.BICUBIC)
        self.image.paste(255, (round(x * CUT - room / 2), round(y * CUT - room / 2)), tile)

    def frame(self, inset: float = 5) -> None:
        """Erase the border, and draw a thick and a thin line around the picture."""
        for at, width, ink in ((inset, 30, 0), (inset, 7, 255), (inset + 11, 3, 255)):
            self.line(box(at, at, self.width - at, self.height - at)[[0, 1, 2, 3, 0, 1]], width, ink)

    def make_print(self, rng: np.random.Generator) -> Image.Image:
        """Return a print of the block in page pixels, with uneven lines as from a knife."""
        a = np.asarray(self.image)
        y, x = np.mgrid[: a.shape[0], : a.shape[1]]
        for cell, reach in ((90, 2.0), (16, 0.7)):
            x, y = x + noise(a.shape, cell, rng) * reach, y + noise(a.shape, cell, rng) * reach
        a = a[y.round().astype(int).clip(0, a.shape[0] - 1), x.round().astype(int).clip(0, a.shape[1] - 1)]
        a = np.asarray(Image.fromarray(a).filter(ImageFilter.GaussianBlur(2)), np.float32) / 255
        a = (a - 0.45 - 0.05 * noise(a.shape, 8, rng) - 0.05 * noise(a.shape, 150, rng)) * 4 + 0.5
        return Image.fromarray((a.clip(0, 1) * 255).astype(np.uint8)).resize((self.width, self.height))


def noise(shape: tuple[int, ...], cell: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise with mean 0 and a standard deviation near 1.

    Args:
        shape: (height, width, …) of the array; only the first two are used.
        cell: Size of the details, in pixels.
        rng: Random generator.
    """
    grid = rng.standard_normal((int(shape[0] / cell) + 2, int(shape[1] / cell) + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)) * 1.4


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return the corners of a rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def arc(x: float, y: float, rx: float, ry: float = 0, start: float = 0, end: float = 360) -> np.ndarray:
    """Return the points of an elliptical arc.

    Args:
        x: Horizontal position of the centre.
        y: Vertical position of the centre.
        rx: Half the width.
        ry: Half the height; 0 means the same as ``rx``.
        start: Angle of the first point; 0 is on the right.
        end: Angle of the last point.
    """
    t = np.radians(np.linspace(start, end, 73))
    return np.stack([x + rx * np.cos(t), y + (ry or rx) * np.sin(t)], axis=1)


def bulges(x: float, y: float, rx: float, ry: float, n: int) -> np.ndarray:
    """Return an outline of ``n`` bulges around an ellipse: a cloud, a flower, the crown of a tree."""
    t = np.linspace(0, 2 * np.pi, n * 12)
    q = 0.8 + 0.25 * np.abs(np.sin(t * n / 2))
    return np.stack([x + rx * q * np.cos(t), y + ry * q * np.sin(t)], axis=1)


def path(text: str, x: float = 0, y: float = 0, size: float = 1, soft: bool = True) -> np.ndarray:
    """Return the points of a drawing that is written as text, scaled and moved.

    Args:
        text: Coordinates of the points, written "x y x y ...".
        x: Horizontal position of the drawing's origin.
        y: Vertical position of the drawing's origin.
        size: Scale factor.
        soft: Whether the corners are rounded.
    """
    p = np.array(text.split(), float).reshape(-1, 2) * size + (x, y)
    for _ in range(3 if soft else 0):
        cut = np.stack([0.75 * p[:-1] + 0.25 * p[1:], 0.25 * p[:-1] + 0.75 * p[1:]], axis=1).reshape(-1, 2)
        p = np.vstack([p[:1], cut, p[-1:]])
    return p


def halves(x: float, light: float, dark: float) -> Field:
    """Return a tone that is light to the left of ``x`` and dark to its right."""
    return lambda i, j: np.where(i > x + 6 * np.sin(j / 9), dark, light)
