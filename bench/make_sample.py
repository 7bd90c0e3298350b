"""Draw four pages of an early printed book that never was, with the true boxes of its woodcuts.

python bench/make_sample.py --out iiif/sample
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, features

SAMPLE = Path(__file__).parent.parent / "iiif" / "sample"
REGULAR = Path("/usr/share/fonts/opentype/ebgaramond/EBGaramond12-Regular.otf")
LIGATURES = ["dlig"] if features.check("raqm") else None
WIDTH, HEIGHT, TEXT_WIDTH, LEADING, CUT = 1800, 2500, 1200, 60, 2  # page pixels; CUT: block pixels in one of them
SPHERES = ["FIRMAMENTVM", "SATVRNI", "IOVIS", "MARTIS", "SOLIS", "VENERIS", "MERCVRII", "LVNÆ"]
Field = Callable[[np.ndarray, np.ndarray], np.ndarray]
Points = np.ndarray | list


def noise(shape: tuple[int, ...], cell: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise of mean 0 and deviation near 1, with details of ``cell`` pixels."""
    grid = rng.standard_normal((int(shape[0] / cell) + 2, int(shape[1] / cell) + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize(shape[1::-1], Image.Resampling.BICUBIC)) * 1.4


def arc(x: float, y: float, rx: float, ry: float = 0, start: float = 0, end: float = 360) -> np.ndarray:
    """Return the points of an elliptical arc; angles in degrees, clockwise from the right."""
    t = np.radians(np.linspace(start, end, 73))
    return np.stack([x + rx * np.cos(t), y + (ry or rx) * np.sin(t)], axis=1)


def bulges(x: float, y: float, rx: float, ry: float, n: int) -> np.ndarray:
    """Return an outline of ``n`` bulges around an ellipse: a cloud, a flower, the crown of a tree."""
    t = np.linspace(0, 2 * np.pi, n * 12)
    q = 0.8 + 0.25 * np.abs(np.sin(t * n / 2))
    return np.stack([x + rx * q * np.cos(t), y + ry * q * np.sin(t)], axis=1)


def path(text: str, x: float = 0, y: float = 0, size: float = 1, soft: bool = True) -> np.ndarray:
    """Return the points written "x y x y ...", scaled, moved and, when soft, with their corners rounded."""
    p = np.array(text.split(), float).reshape(-1, 2) * size + (x, y)
    for _ in range(3 if soft else 0):
        cut = np.stack([0.75 * p[:-1] + 0.25 * p[1:], 0.25 * p[:-1] + 0.75 * p[1:]], axis=1).reshape(-1, 2)
        p = np.vstack([p[:1], cut, p[-1:]])
    return p


class Block:
    """A woodblock, cut in line and hatching; later shapes cover earlier ones."""

    def __init__(self, width: int, height: int, font: Path) -> None:
        """Start from an uncut block of ``width`` by ``height`` page pixels."""
        self.width, self.height, self.font = width, height, font
        self.image = Image.new("L", (width * CUT, height * CUT))

    def line(self, points: Points, width: float = 3, ink: int = 255) -> None:
        """Cut a polyline."""
        flat = (np.asarray(points, float) * CUT).ravel().tolist()
        ImageDraw.Draw(self.image).line(flat, fill=ink, width=round(width * CUT), joint="curve")

    def shape(
        self, points: Points, tone: float | Field = 0, rule: float | Field = 0, edge: float = 3, pitch: float = 8
    ) -> None:
        """Cut a polygon, hatched to ``tone`` (share of ink) along ``rule`` (an angle, or a phase in pixels)."""
        p = np.asarray(points, float) * CUT
        low = np.maximum(p.min(axis=0), 0).astype(int)
        high = np.minimum(p.max(axis=0) + 2, self.image.size).astype(int)
        mask = Image.new("L", tuple((high - low).tolist()))
        ImageDraw.Draw(mask).polygon((p - low).ravel().tolist(), fill=255)
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]] / CUT
        phase = rule(x, y) if callable(rule) else y * np.cos(np.radians(rule)) - x * np.sin(np.radians(rule))
        ink = (phase / pitch) % 1 < (tone(x, y) if callable(tone) else tone)
        self.image.paste(Image.fromarray(ink.astype(np.uint8) * 255), tuple(low.tolist()), mask)
        if edge:
            self.line(np.vstack([points, points[:1]]), edge)

    def letter(self, text: str, x: float, y: float, size: float, turn: float = 0) -> None:
        """Cut letters centred at a point, turned clockwise by ``turn`` degrees."""
        room = round(size * CUT * (len(text) + 1))
        tile = Image.new("L", (room, room))
        font = ImageFont.truetype(self.font, size * CUT)
        ImageDraw.Draw(tile).text((room / 2, room / 2), text, 255, font, "mm", stroke_width=1)
        tile = tile.rotate(-turn, Image.Resampling.BICUBIC)
        self.image.paste(255, (round(x * CUT - room / 2), round(y * CUT - room / 2)), tile)

    def frame(self, inset: float = 5) -> None:
        """Clear the border and cut a thick and a thin line around the picture."""
        for at, width, ink in ((inset, 30, 0), (inset, 7, 255), (inset + 11, 3, 255)):
            self.line(box(at, at, self.width - at, self.height - at)[[0, 1, 2, 3, 0, 1]], width, ink)

    def pull(self, rng: np.random.Generator) -> Image.Image:
        """Return a print of the block, its lines uneven as a knife leaves them."""
        a = np.asarray(self.image)
        y, x = np.mgrid[: a.shape[0], : a.shape[1]]
        for cell, reach in ((90, 2.0), (16, 0.7)):
            x, y = x + noise(a.shape, cell, rng) * reach, y + noise(a.shape, cell, rng) * reach
        a = a[y.round().astype(int).clip(0, a.shape[0] - 1), x.round().astype(int).clip(0, a.shape[1] - 1)]
        a = np.asarray(Image.fromarray(a).filter(ImageFilter.GaussianBlur(2)), np.float32) / 255
        a = (a - 0.45 - 0.05 * noise(a.shape, 8, rng) - 0.05 * noise(a.shape, 150, rng)) * 4 + 0.5
        return Image.fromarray((a.clip(0, 1) * 255).astype(np.uint8)).resize((self.width, self.height))


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return the corners of a rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def halves(x: float, light: float, dark: float) -> Field:
    """Return a tone that is light to the left of ``x`` and dark to its right."""
    return lambda i, j: np.where(i > x + 6 * np.sin(j / 9), dark, light)


def face(b: Block, x: float, y: float, r: float, moon: bool = False) -> None:
    """Cut the sun with its face and rays, or the moon in its last quarter."""
    for k in range(0 if moon else 32):
        q = np.array([1, 1.4, 2.1 - 0.4 * (k % 2), 1.4, 1]) * r
        t = k * np.pi / 16 + np.array([-1, 0.5, 0, 1.5, 1]) * 0.09
        b.shape(np.stack([x + q * np.cos(t), y + q * np.sin(t)], axis=1), k % 2, edge=2)
    b.shape(arc(x, y, r), lambda i, j: 0.5 * (np.hypot(i - x + r / 4, j - y + r / 4) > r * 0.85), 60, 4, 7)
    if moon:
        b.shape([*arc(x, y, r, r, -90, 90), *arc(x, y, r * 0.5, r, 90, -90)], 0.62, 20)
        x, r = x - r * 0.2, r * 0.85
    for eye in (x - r * 0.36, x + r * 0.36):
        b.line(arc(eye, y - r * 0.15, r * 0.2, r * 0.12, 190, 350))
        b.line(arc(eye, y - r * 0.22, r * 0.27, r * 0.2, 200, 340))
        b.shape(arc(eye, y - r * 0.17, r * 0.07), 1)
    b.line(path("-.1 -.3 -.06 .1 -.17 .25 0 .3", x, y, r))
    b.line(arc(x, y + r * 0.36, r * 0.3, r * 0.2, 20, 160), 4)


def star(b: Block, x: float, y: float, r: float) -> None:
    """Cut a six-pointed star, clear of the hatching around it."""
    b.shape(arc(x, y, r * 1.3), edge=0)
    t, q = np.radians(np.arange(12) * 30), r * (1 - 0.6 * (np.arange(12) % 2))
    b.shape(np.stack([x + q * np.sin(t), y - q * np.cos(t)], axis=1), halves(x, 0, 1), edge=2)


def cloud(b: Block, x: float, y: float, w: float) -> None:
    """Cut a cloud of three masses."""
    for dx, size in ((-0.55, 0.6), (0.5, 0.7), (0, 1)):
        b.shape(bulges(x + dx * w, y, w * size * 0.62, w * size * 0.32, 11), lambda i, j: 0.18 + 2 * (j - y) / w, 8)


def tree(b: Block, x: float, y: float, h: float) -> None:
    """Cut a tree with its foot at a point."""
    b.shape(path("-.1 0 -.04 -.2 -.05 -.6 .05 -.6 .04 -.2 .1 0", x, y, h), 0.5, 80, 2, 5)
    for dx, dy, r in ((-0.17, -0.55, 0.22), (0.18, -0.58, 0.2), (0, -0.8, 0.24), (0.02, -0.55, 0.18)):
        crown = bulges(x + dx * h, y + dy * h, h * r, h * r, 9)
        b.shape(crown, lambda i, j, c=x + dx * h: 0.35 + 1.8 * (i - c) / h, 30, 3, 6)


def tower(b: Block, x: float, y: float, w: float, h: float, spire: int) -> None:
    """Cut a tower with its left foot at a point, under a spire or battlements."""
    top, middle = y - h, x + w / 2
    b.shape(box(x, top, x + w, y), halves(middle + 3, 0.08, 0.58), pitch=7)
    if spire:
        b.shape([(x - 6, top), (middle, top - w * 1.7), (x + w + 6, top)], halves(middle, 0.3, 0.7), 75, pitch=6)
    for k in range(0 if spire else 4):
        b.shape(box(x - 6 + k * w * 0.32, top - 15, x - 6 + k * w * 0.32 + w * 0.2, top), 0.3, 90)
    for low in np.arange(top + 32, y - 30, 62):
        b.shape(box(x + w * 0.25, low, x + w * 0.42, low + 22), 1)


def ship(b: Block, x: float, y: float, s: float) -> None:
    """Cut a ship under sail, with a watcher at the masthead."""
    for mast, top in ((-62, -150), (66, -150), (0, -215)):
        b.line(path(f"{mast} 0 {mast} {top}", x, y, s), 6)
        b.line(path(f"{mast - 44} -30 {mast} {top} {mast + 44} -30", x, y, s, soft=False), 2)
        b.shape(path("0 0 0 -26 44 -20 22 -14 42 -4 0 0", x + mast * s, y + top * s, s), 0.6, pitch=5)
    for mast, top, w in ((-62, -128, 34), (66, -128, 34), (0, -178, 50)):
        sail = path("-1 0 1 0 1.5 1 1 1.7 1 1.9 0 1.5 -1 1.9 -1 1.7 -.5 1 -1 0", x + mast * s, y + top * s, w * s)
        shade = halves(x + (mast + w * 0.5) * s, 0.08, 0.5)
        b.shape(sail, shade, lambda i, j: i + 8 * np.sin(j / 20), 4)
    b.shape(path("-14 -215 14 -215 9 -198 -9 -198", x, y, s), 0.5, 90)
    b.shape(arc(x, y - 224 * s, 6 * s), 0.7)
    hull = "-140 -66 -92 -58 -80 -28 70 -28 86 -66 136 -76 116 -10 84 34 -70 34 -118 0 -140 -66"
    b.line(path(hull, x, y, s), 18, 0)
    b.shape(path(hull, x, y, s), 0.6, lambda i, j: j + 14 * np.cos((i - x) / 80), 6, 11)
    for k in range(6):
        b.shape(arc(x + (k * 26 - 66) * s, y - 6 * s, 7 * s), 1, edge=0)


def landscape(font: Path) -> Block:
    """Cut a castle over the sea, and the ship from whose mast it is seen."""
    b = Block(TEXT_WIDTH, 640, font)
    b.shape(box(0, 0, 1200, 340), lambda i, j: 0.5 - j / 480, lambda i, j: j + 5 * np.sin(i / 60), pitch=9)
    b.shape(arc(850, 158, 122), edge=0)
    face(b, 850, 158, 54)
    for x, y, w in ((600, 95, 130), (1080, 105, 130), (420, 60, 100)):
        cloud(b, x, y, w)
    for x, w, h in ((560, 300, 90), (1010, 340, 130), (800, 260, 70)):
        hill = path(f"{-w} 0 {-w * 0.4} {-h * 0.6} 0 {-h} {w * 0.3} {-h * 0.5} {w} 0", x, 335)
        b.shape(hill, halves(x, 0.2, 0.55), 62)
    b.shape(
        box(0, 330, 1200, 640),
        lambda i, j: 0.22 + (j - 330) / 1300,
        lambda i, j: j + 5 * np.sin(i / 19 + j / 16) + (i - 700) ** 2 / 26000,
        3,
        12,
    )
    for k in range(5):
        tower(b, 960 + k * 42, 352, 34, 40 + 24 * (k * 7 % 3), k % 2)
    b.shape(path("880 362 980 345 1240 338 1240 378 1000 372 880 362"), 0.3, 4, 3, 6)
    ship(b, 730, 478, 1.15)
    for k in range(10):
        b.line(arc(570 + k * 36, 528 + 9 * (k % 2), 20, 12, 200, 340), 4)
    hill = path("-90 300 120 268 300 262 400 330 450 430 560 520 640 760 -90 760 -90 300")
    b.shape(
        hill,
        lambda i, j: 0.1 + 0.5 * (i / 600) ** 2 + 0.12 * (j > 500 + 20 * np.sin(i / 40)),
        lambda i, j: i * 0.9 + j * 0.5 + 14 * np.sin(j / 40),
        4,
        10,
    )
    for tall in ((96, 300, 210, 90, 0), (70, 310, 62, 150, 1), (150, 290, 74, 200, 0), (262, 310, 64, 130, 1)):
        tower(b, *tall)
    b.shape([*arc(190, 296, 18, 26, 180, 360), (208, 312), (172, 312)], 1)
    b.shape(path("178 312 230 380 190 460 300 690 410 690 260 460 270 380 203 312"))
    for x, y, h in ((60, 470, 150), (360, 440, 110), (120, 600, 200), (470, 610, 140)):
        tree(b, x, y, h)
    b.frame()
    return b


def ring(tilt: float, lean: float, half: float, lat: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rims (2, n, 2) of a band on a unit sphere whose pole is tilted and leant, and how near (n,) it is."""
    t, rims = np.radians(np.arange(0, 361, 3)), np.radians([[lat - half], [lat + half]])
    a, v = np.radians([tilt, lean])
    x, y, z = np.cos(rims) * np.cos(t), np.sin(rims) + 0 * t, np.cos(rims) * np.sin(t)
    y, z = y * np.cos(v) - z * np.sin(v), z * np.cos(v) + y * np.sin(v)
    return np.stack([x * np.cos(a) + y * np.sin(a), x * np.sin(a) - y * np.cos(a)], axis=-1), z.mean(axis=0)


def band(b: Block, rims: np.ndarray, near: np.ndarray, front: bool, marks: int) -> None:
    """Cut the front or the back half of a band, with a mark or a dark field every few steps."""
    for k in np.flatnonzero((near[:-1] > 0) == front):
        dark = 0.85 if marks == 5 and k // 5 % 2 else 0.12 if front else 0.5
        b.shape([*rims[0, k : k + 2], *rims[1, [k + 1, k]]], dark, 90, 0, 6)
        for rim in rims:
            b.line(rim[k : k + 2], 5 if front else 3)
        if k % marks == 0:
            b.line(rims[:, k], 2)


def armillary(b: Block, x: float, y: float, r: float) -> None:
    """Cut an armillary sphere: the earth on its axis within the circles of heaven."""
    bands = [(24, 24, 2, lat, 0.93, 10) for lat in (-66, -23.5, 0, 23.5, 66)]
    bands += [(114, 12, 3, 0, 0.95, 10), (44, 38, 7, 0, 0.97, 5), (0, 24, 4, 0, 1.17, 2)]
    for front in (False, True):
        for tilt, lean, half, lat, size, marks in bands:
            rims, near = ring(tilt, lean, half, lat)
            band(b, rims * r * size + (x, y), near, front, marks)
        if front:
            break
        b.line(path("-.5 1.12 .5 -1.12", x, y, r), 8)
        for q, width, ink in ((1.03, 24, 255), (1.03, 16, 0)):
            b.line(arc(x, y, r * q), width, ink)
        for t in np.radians(np.arange(0, 360, 5)):
            b.line([(x + r * q * np.cos(t), y + r * q * np.sin(t)) for q in (1.01, 1.05)], 2)
        b.shape(
            arc(x, y, r * 0.22),
            lambda i, j: 0.3 + 0.35 * (i - x + j - y) / r * 5,
            lambda i, j: np.hypot(i - x + 40, j - y + 60),
            5,
        )
        b.shape(path("-40 -20 -10 -44 20 -20 4 24 -30 16 -40 -20", x, y), 0.06)


def vine(b: Block, wide: float) -> None:
    """Cut a black border with a white vine winding through it."""
    w, h = b.width, b.height
    for x, y, along, length in ((0, 0, 0, w), (0, h - wide, 0, w), (0, 0, 1, h), (w - wide, 0, 1, h)):
        turn = np.array([[1, 0], [0, 1]]) if along == 0 else np.array([[0, 1], [1, 0]])
        b.shape(np.array([(0, 0), (length, 0), (length, wide), (0, wide)]) @ turn + (x, y), 1)
        n, s = round((length - 2 * wide) / 56), np.linspace(wide, length - wide, 600)
        b.line(np.stack([s, wide / 2 + 13 * np.sin(np.linspace(0, n * np.pi, 600))], axis=1) @ turn + (x, y), 5, 0)
        for k in range(n):
            at = np.array([wide + (k + 0.5) * (length - 2 * wide) / n, wide / 2 - (-1) ** k * 9]) @ turn + (x, y)
            b.shape(bulges(*at, 14, 14, 5), edge=0)
            b.shape(arc(*at, 4), 1)
    for x, y in box(wide / 2, wide / 2, w - wide / 2, h - wide / 2):
        b.shape(bulges(x, y, 25, 25, 6), edge=0)
        b.shape(arc(x, y, 8), 1)
    for at, width, ink in ((wide + 5, 10, 0), (wide + 8, 3, 255)):
        b.line(box(at, at, w - at, h - at)[[0, 1, 2, 3, 0]], width, ink)


def frontispiece(font: Path) -> Block:
    """Cut an armillary sphere under the sun and moon, in a border of white vine."""
    b = Block(1000, 1240, font)
    b.shape(box(60, 60, 940, 1000), lambda i, j: 0.5 - j / 2600, lambda i, j: j + 6 * np.sin(i / 70), 0, 10)
    for x, y in path("330 100 500 130 670 100 120 400 880 400 112 760 888 760", soft=False):
        star(b, x, y, 26)
    for x, r in ((180, 54), (820, 80)):
        b.shape(arc(x, 182, 118 if x < 500 else 94), edge=0)
        face(b, x, 182, r, x > 500)
    b.shape(arc(500, 565, 376))
    for x, h in ((150, 80), (420, 60), (700, 90), (900, 60)):
        hill = path(f"-260 20 -60 {-h * 0.8} 0 {-h} 60 {-h * 0.6} 280 20", x, 1000)
        b.shape(hill, halves(x, 0.2, 0.55), 60, 4, 9)
    b.shape(
        box(60, 1000, 940, 1180),
        lambda i, j: 0.12 + (j - 1000) / 600,
        lambda i, j: j + 10 * np.sin(i / 90 + j / 30),
        3,
        12,
    )
    armillary(b, 500, 565, 312)
    foot = "-14 0 -14 30 -46 50 -14 78 -22 120 -60 160 -120 184 120 184 60 160 22 120 14 78 46 50 14 30 14 0"
    b.shape(path(foot, 500, 890), halves(506, 0.2, 0.7), 0, 5, 7)
    for x, y, h in ((140, 1090, 200), (260, 1070, 130), (860, 1090, 210), (740, 1066, 120)):
        tree(b, x, y, h)
    b.shape(path("200 1130 230 1098 400 1108 600 1108 770 1098 800 1130 770 1168 600 1160 400 1160 230 1168 200 1130"))
    b.letter("SPHÆRA MVNDI", 500, 1134, 44)
    vine(b, 60)
    return b


def leaf(b: Block, x: float, y: float, turn: float, length: float) -> None:
    """Cut a toothed leaf, its lower half in shade; ``turn`` is where it points, in degrees."""
    a, s = np.radians(turn), np.linspace(0, 1, 55)
    half = 0.24 * length * np.sin(np.pi * s**0.75) * (0.85 + 0.25 * (s * 9 % 1))
    droop = np.sign(np.cos(a)) * length
    axes = np.array([(np.cos(a), np.sin(a)), (-np.sin(a), np.cos(a))])
    rib = np.stack([s * length, 0.3 * droop * (s**2 - 0.4 * s)], axis=1) @ axes + (x, y)
    for side, tone in ((-1, 0.1), (1, 0.45)):
        rim = rib + np.outer(half * side * np.sign(droop), axes[1])
        b.shape([*rim, *rib[::-1]], tone, turn + side * np.sign(droop) * 50, 4)
        for k in range(6, 48, 6):
            b.line([rib[k], 0.15 * rib[k + 6] + 0.85 * rim[k + 6]])
    b.line(rib, 5)


def flower(b: Block, x: float, y: float, r: float) -> None:
    """Cut a flower of eight petals."""
    b.line(path(f"308 280 {(x + 308) / 2} 220 {x} {y}"), 7)
    for t in np.arange(8) * np.pi / 4 + 0.2:
        petal = arc(x + r * 0.62 * np.cos(t), y + r * 0.62 * np.sin(t), r * 0.36)
        b.shape(
            petal,
            lambda i, j: 0.75 - 0.6 * np.hypot(i - x, j - y) / r,
            lambda i, j: 40 * np.arctan2(j - y, i - x),
            3,
            6,
        )
    b.shape(arc(x, y, r * 0.32), 0.5, 45, 4, 6)


def herb(font: Path) -> Block:
    """Cut a flowering herb with its root."""
    b = Block(620, 900, font)
    ground = "-20 720 150 690 300 704 460 690 640 716 640 742 440 722 300 734 140 720 -20 748"
    b.shape(path(ground), 0.45, 20, 0, 9)
    for k in range(9):
        t = k * 0.8 - 3.2
        b.line(path(f"0 -10 {t * 26} 40 {t * 50 - 10} {60 + k * 37 % 50} {t * 72} {100 + k * 53 % 70}", 310, 700), 7)
        b.line(path(f"{t * 34} 45 {t * 40 + 16} 90 {t * 44} 150", 310, 700))
    pairs = ((690, 196, -14, 235), (595, 214, -36, 235), (465, 198, -20, 225), (360, 222, -46, 190))
    for y, left, right, length in pairs:
        leaf(b, 306, y, left, length)
        leaf(b, 316, y - 10, right, length)
    for width, ink in ((15, 255), (7, 0)):
        b.line(path("312 740 296 600 330 430 300 250 316 150"), width, ink)
    for x, y, r in ((170, 158, 58), (456, 166, 58), (314, 118, 76)):
        flower(b, x, y, r)
    b.frame()
    return b


def sphere(b: Block, name: str, r: float, turn: float, tone: float) -> None:
    """Cut one heavenly sphere of the cosmos, with its name and its planet."""
    b.shape(arc(300, 300, r), tone, lambda i, j: 150 * np.arctan2(j - 300, i - 300), 4, 10)
    reach, middle = len(name) * 560 / r, r - 14
    low, high = -90 - reach, -90 + reach
    b.shape([*arc(300, 300, r - 3, 0, low, high), *arc(300, 300, r - 24, 0, high, low)], edge=0)
    for k, letter in enumerate(name):
        at = (2 * k + 1 - len(name)) * 510 / r
        x, y = 300 + middle * np.sin(np.radians(at)), 300 - middle * np.cos(np.radians(at))
        b.letter(letter, x, y, 25, at)
    star(b, 300 + middle * np.sin(np.radians(turn)), 300 - middle * np.cos(np.radians(turn)), 11)


def cosmos(font: Path) -> Block:
    """Cut the spheres of the planets around the four elements."""
    b = Block(600, 600, font)
    b.shape(box(0, 0, 600, 600), 0.5, 45, pitch=9)
    for x, y in box(66, 66, 534, 534):
        b.shape(arc(x, y, 46))
        face(b, x, y, 22)
    for k, name in enumerate(SPHERES):
        sphere(b, name, 278 - 25 * k, 80 + 137 * k % 200, 0.4 * (k % 2 == 0))
    b.shape(arc(300, 300, 78), 0)
    for t in np.radians(np.arange(0, 360, 15)):
        flame = ((60, -0.1), (76, 0.06), (60, 0.1))
        b.shape([(300 + q * np.cos(t + d), 300 + q * np.sin(t + d)) for q, d in flame], 0.7)
    b.shape(arc(300, 300, 58), 0.45, lambda i, j: j + 4 * np.sin(i / 6), 4)
    b.shape(path("-48 20 -38 -10 -10 -32 22 -28 46 0 50 22 0 36 -48 20", 300, 300), 0.2, 10, 3, 7)
    tower(b, 282, 312, 26, 30, 1)
    b.frame()
    return b


class Page:
    """A page being set: its ink, and the boxes of its woodcuts."""

    def __init__(self, number: int, font: Path, rng: np.random.Generator) -> None:
        """Start a page with its running head; the odd ones are rectos."""
        self.number, self.font, self.rng = number, font, rng
        self.left = 270 if number % 2 else 330
        self.middle, self.right = self.left + TEXT_WIDTH / 2, self.left + TEXT_WIDTH
        self.ink, self.truth = Image.new("L", (WIDTH, HEIGHT)), []
        if number > 1:
            self.say("SPECVLI NATVRÆ" if number % 2 else "IOANNIS DE MACHINA", self.middle, 220, 40)
            self.say(str(number), *((self.right, 220, 44, "rs") if number % 2 else (self.left, 220, 44, "ls")))

    def type(self, size: int, italic: bool = False) -> ImageFont.FreeTypeFont:
        """Return the type of a size."""
        name = self.font.name.replace("Regular", "Italic") if italic else self.font.name
        return ImageFont.truetype(self.font.with_name(name), size)

    def say(self, text: str, x: float, y: float, size: int, anchor: str = "ms", italic: bool = False) -> None:
        """Set a piece of text, a hair off its line."""
        spot = (x, y + self.rng.normal(0, 0.8))
        ImageDraw.Draw(self.ink).text(spot, text, 255, self.type(size, italic), anchor, features=LIGATURES)

    def note(self, text: str, y: float) -> None:
        """Set a note in the outer margin."""
        x, anchor = (self.right + 28, "ls") if self.number % 2 else (self.left - 28, "rs")
        for k, row in enumerate(spell(text).split("/")):
            self.say(row, x, y + 36 * k, 31, anchor, italic=True)

    def catchword(self, words: list[str]) -> None:
        """Set the first word of the next page under the last line."""
        self.say(words[0] if words else "", self.right, line_y(33) + 10, 44, "rs")

    def place(self, block: Block, x: float, y: float) -> None:
        """Print a woodcut with its corner at a point."""
        x, y = round(x), round(y)
        layer = Image.new("L", self.ink.size)
        layer.paste(block.pull(self.rng), (x, y))
        self.ink = ImageChops.lighter(self.ink, layer)
        self.truth.append(box(x, y, x + block.width, y + block.height))

    def compose(self, words: list[str], first: int, cut: tuple[int, int, int, int]) -> None:
        """Set lines from ``first`` on from ``words``, justified; those of the cut (from, to, left, right) narrower."""
        font = self.type(46)
        for k in range(first, 33):
            x0, x1 = self.left, self.right
            if cut[0] <= k < cut[1]:
                x0, x1 = x0 + cut[2], x1 - cut[3]
            row = take(words, x1 - x0, font)
            wide = [font.getlength(word, features=LIGATURES) for word in row]
            gap = (x1 - x0 - sum(wide)) / max(len(row) - 1, 1) if words else 12
            for word, advance in zip(row, wide, strict=True):
                self.say(word, x0, line_y(k), 46, "ls")
                x0 += advance + gap

    def turn(self, degrees: float) -> None:
        """Turn the print on the paper, and its boxes with it."""
        self.ink = self.ink.rotate(degrees, Image.Resampling.BICUBIC)
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        middle = np.array([WIDTH / 2, HEIGHT / 2])
        self.truth = [(corners - middle) @ np.array([[c, -s], [s, c]]) + middle for corners in self.truth]


def line_y(k: int) -> int:
    """Return the baseline of a line of text."""
    return 330 + k * LEADING


def spell(text: str) -> str:
    """Return Latin as printers spelt it: æ, v and u by place, long s."""
    for modern, old in (("ae", "æ"), (r"\bu", "v"), (r"(?<=\w)v", "u"), (r"s(?=\w)", "ſ"), ("¶ ", "¶\u00a0")):
        text = re.sub(modern, old, text)
    return text


def take(words: list[str], width: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Take from ``words`` what fits on a line, breaking the last word after a vowel when it can."""
    row: list[str] = []

    def fits(word: str) -> bool:
        return font.getlength(" ".join([*row, word]), features=LIGATURES) <= width

    while words and fits(words[0]):
        row.append(words.pop(0))
    ends = [m.end() for m in re.finditer(r"(?<=\w)[aeiouæ](?=[bcdfglmnprtſ][aeiouæ]\w)", words[0])] if words else []
    for end in reversed(ends):
        if fits(words[0][:end] + "-"):
            row.append(words[0][:end] + "-")
            words[0] = words[0][end:]
            break
    return row


def paper(recto: bool, rng: np.random.Generator) -> np.ndarray:
    """Return a blank leaf (h, w, 3) as scanned: laid, stained, foxed, darker at its edges and in the gutter."""
    shape = (HEIGHT, WIDTH)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    inner = x if recto else WIDTH - 1 - x
    edge = np.minimum(np.minimum(y, HEIGHT - 1 - y), WIDTH - 1 - inner)
    edge -= 24 + 2.5 * noise(shape, 500, rng) + 0.35 * noise(shape, 14, rng)
    damp = noise(shape, 420, rng) + 0.12 * noise(shape, 40, rng)
    light = 1 + 0.018 * noise(shape, 500, rng) + 0.008 * noise(shape, 50, rng) + 0.006 * noise(shape, 3, rng)
    light += 0.004 * np.sin(y * 0.9) + 0.008 * (np.sin(x * np.pi / 115) ** 40)
    light -= 0.025 * np.exp(-(((damp - 1.25) / 0.05) ** 2)) + 0.012 * (damp > 1.25)
    light -= 0.05 * np.clip(noise(shape, 10, rng) * noise(shape, 160, rng) - 5.2, 0, 2)
    light -= 0.1 * np.exp(-np.maximum(edge, 0) / 60) + 0.5 * np.exp(-inner / 40) + 0.08 * np.exp(-inner / 220)
    sheet = np.array([235, 223, 197]) * np.clip(light, 0.05, 1.1)[..., None] ** np.array([0.85, 1.0, 1.35])
    return np.where(edge[..., None] > 0, sheet, np.array([52, 47, 42]) * light[..., None])


def scan(page: Page, back: Page) -> Image.Image:
    """Return the scan of a page, with the other side of its leaf showing through."""
    shape, rng = (HEIGHT, WIDTH), page.rng
    ink = np.asarray(page.ink.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255
    ghost = ImageChops.offset(back.ink.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 5, 7)
    ghost = np.asarray(ghost.filter(ImageFilter.GaussianBlur(3)), np.float32) / 255
    ink = ink * np.clip(0.87 + 0.04 * noise(shape, 260, rng) + 0.035 * noise(shape, 4, rng), 0, 0.97)
    ghost = ghost * np.clip(0.06 + 0.025 * noise(shape, 300, rng), 0.015, 1)
    out = paper(page.number % 2 == 1, rng) * (1 - ghost[..., None] * np.array([0.85, 1.0, 1.1]))
    out = out * (1 - ink[..., None]) + np.array([44, 36, 31]) * ink[..., None]
    return Image.fromarray(out.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def title(page: Page) -> None:
    """Set the title page."""
    page.say("SPECVLVM NATVRÆ", page.middle, 360, 124)
    page.say(spell("in quo de sphaera mundi, deque herbarum claritate,"), page.middle, 465, 60, italic=True)
    page.say(spell("breviter & cum figuris agitur."), page.middle, 545, 60, italic=True)
    page.place(frontispiece(page.font), page.middle - 500, 640)
    page.say("ARTE NVMERORVM DELINEATVM,", page.middle, 2030, 56)
    page.say(spell("sine prelo, sine typis, sine manu."), page.middle, 2110, 52, italic=True)
    page.say("M. M. XXVI.", page.middle, 2200, 52)


def herbal(page: Page, words: list[str]) -> None:
    """Set a page of text around the herb."""
    page.say("DE HERBARVM CLARITATE", page.middle, 340, 54)
    page.compose(words, 2, (10, 26, 0, 660))
    page.place(herb(page.font), page.right - 620, line_y(10) - 20)
    page.note("Herbarum/inventores.", line_y(13))
    page.note("Herbarum/cognomina.", line_y(27))


def chapter(page: Page, words: list[str]) -> None:
    """Set a page of text alone, with its signature and catchword."""
    page.say("DE SPHÆRA, CAPVT PRIMVM", page.middle, 340, 54)
    initial, words[0] = words[0][0], words[0][1:].upper().replace("U", "V")
    page.say(initial, page.left, line_y(3) + 1, 142, "ls")
    page.compose(words, 2, (2, 4, 104, 0))
    notes = {3: "Divisio/operis.", 9: "Sphaera quid/Euclidi.", 13: "Theodosio.", 18: "Axis./Poli.", 22: "Elementa."}
    for k, text in notes.items():
        page.note(text, line_y(k))
    page.say("B ij", page.middle, line_y(33) + 10, 42)
    page.catchword(words)


def figures(page: Page, words: list[str]) -> None:
    """Set a page of text with the landscape at its head and the cosmos in its side."""
    page.place(landscape(page.font), page.left, 272)
    page.compose(words, 11, (14, 25, 640, 0))
    page.place(cosmos(page.font), page.left, line_y(14) - 20)
    page.catchword(words)
    page.note("Aquae/tumor.", line_y(11))
    page.note("Caeli motus.", line_y(18))


def main() -> None:
    """Write the pages and the true boxes of their woodcuts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SAMPLE)
    parser.add_argument("--font", type=Path, default=REGULAR, help="OpenType font, its italic beside it")
    parser.add_argument("--seed", type=int, default=1472)
    args = parser.parse_args()
    pages = [Page(k + 1, args.font, np.random.default_rng([args.seed, k])) for k in range(4)]
    herbs, heavens = [spell(text).split(" ") for text in (SAMPLE / "text.txt").read_text("utf-8").strip().split("\n\n")]
    title(pages[0])
    herbal(pages[1], herbs)
    chapter(pages[2], heavens)
    figures(pages[3], heavens)
    truth = {}
    for k, (page, degrees) in enumerate(zip(pages, (0.25, -0.35, 0.4, -0.2), strict=True)):
        page.turn(degrees)
        name = f"page_{page.number:04}.jpg"
        scan(page, pages[k ^ 1]).save(args.out / name, quality=80)
        ends = [(*corners.min(axis=0), *np.ptp(corners, axis=0)) for corners in page.truth]
        truth[name] = [[round(float(value)) for value in end] for end in ends]
    (args.out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    main()
