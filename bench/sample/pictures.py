"""Compose the four woodcuts of the sample document from motifs."""

from pathlib import Path

import numpy as np

from bench.sample.motifs import armillary, cloud, flower, leaf, moon, ship, star, sun, tower, tree, vine
from bench.sample.page import TEXT_WIDTH
from bench.sample.woodcut import Block, arc, box, halves, path

SPHERES = ["FIRMAMENTVM", "SATVRNI", "IOVIS", "MARTIS", "SOLIS", "VENERIS", "MERCVRII", "LVNÆ"]


def frontispiece(font: Path) -> Block:
    """Draw an armillary sphere under sun and moon, in a border of white vine."""
    b = Block(1000, 1240, font)
    _night(b)
    _meadow(b)
    armillary(b, 500, 565, 312)
    foot = "-14 0 -14 30 -46 50 -14 78 -22 120 -60 160 -120 184 120 184 60 160 22 120 14 78 46 50 14 30 14 0"
    b.shape(path(foot, 500, 890), halves(506, 0.2, 0.7), 0, 5, 7)
    for x, y, h in ((140, 1090, 200), (260, 1070, 130), (860, 1090, 210), (740, 1066, 120)):
        tree(b, x, y, h)
    b.shape(path("200 1130 230 1098 400 1108 600 1108 770 1098 800 1130 770 1168 600 1160 400 1160 230 1168 200 1130"))
    b.letter("SPHÆRA MVNDI", 500, 1134, 44)
    vine(b, 60)
    return b


def _night(b: Block) -> None:
    """Draw the sky of the frontispiece, with empty space for the sphere."""
    b.shape(box(60, 60, 940, 1000), lambda i, j: 0.5 - j / 2600, lambda i, j: j + 6 * np.sin(i / 70), 0, 10)
    for x, y in path("330 100 500 130 670 100 120 400 880 400 112 760 888 760", soft=False):
        star(b, x, y, 26)
    b.shape(arc(180, 182, 118), edge=0)
    sun(b, 180, 182, 54)
    b.shape(arc(820, 182, 94), edge=0)
    moon(b, 820, 182, 80)
    b.shape(arc(500, 565, 376))


def _meadow(b: Block) -> None:
    """Draw the hills and the ground of the frontispiece."""
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


def landscape(font: Path) -> Block:
    """Draw a castle by the sea, and a ship whose lookout sees it."""
    b = Block(TEXT_WIDTH, 640, font)
    _sky(b)
    _coast(b)
    _sea(b)
    ship(b, 730, 478, 1.15)
    for k in range(10):
        b.line(arc(570 + k * 36, 528 + 9 * (k % 2), 20, 12, 200, 340), 4)
    _headland(b)
    b.frame()
    return b


def _sky(b: Block) -> None:
    """Draw the sky of the landscape, with its sun and clouds."""
    b.shape(box(0, 0, 1200, 340), lambda i, j: 0.5 - j / 480, lambda i, j: j + 5 * np.sin(i / 60), pitch=9)
    b.shape(arc(850, 158, 122), edge=0)
    sun(b, 850, 158, 54)
    for x, y, w in ((600, 95, 130), (1080, 105, 130), (420, 60, 100)):
        cloud(b, x, y, w)


def _coast(b: Block) -> None:
    """Draw the far hills of the landscape."""
    for x, w, h in ((560, 300, 90), (1010, 340, 130), (800, 260, 70)):
        hill = path(f"{-w} 0 {-w * 0.4} {-h * 0.6} 0 {-h} {w * 0.3} {-h * 0.5} {w} 0", x, 335)
        b.shape(hill, halves(x, 0.2, 0.55), 62)


def _sea(b: Block) -> None:
    """Draw the sea of the landscape, and the town on its far shore."""
    b.shape(
        box(0, 330, 1200, 640),
        lambda i, j: 0.22 + (j - 330) / 1300,
        lambda i, j: j + 5 * np.sin(i / 19 + j / 16) + (i - 700) ** 2 / 26000,
        3,
        12,
    )
    for k in range(5):
        tower(b, 960 + k * 42, 352, 34, 40 + 24 * (k * 7 % 3), spire=k % 2 == 1)
    b.shape(path("880 362 980 345 1240 338 1240 378 1000 372 880 362"), 0.3, 4, 3, 6)


def _headland(b: Block) -> None:
    """Draw the near shore of the landscape, with the castle, its road and its trees."""
    b.shape(
        path("-90 300 120 268 300 262 400 330 450 430 560 520 640 760 -90 760 -90 300"),
        lambda i, j: 0.1 + 0.5 * (i / 600) ** 2 + 0.12 * (j > 500 + 20 * np.sin(i / 40)),
        lambda i, j: i * 0.9 + j * 0.5 + 14 * np.sin(j / 40),
        4,
        10,
    )
    tower(b, 96, 300, 210, 90, spire=False)
    tower(b, 70, 310, 62, 150, spire=True)
    tower(b, 150, 290, 74, 200, spire=False)
    tower(b, 262, 310, 64, 130, spire=True)
    b.shape([*arc(190, 296, 18, 26, 180, 360), (208, 312), (172, 312)], 1)
    b.shape(path("178 312 230 380 190 460 300 690 410 690 260 460 270 380 203 312"))
    for x, y, h in ((60, 470, 150), (360, 440, 110), (120, 600, 200), (470, 610, 140)):
        tree(b, x, y, h)


def herb(font: Path) -> Block:
    """Draw a flowering herb with its root."""
    b = Block(620, 900, font)
    _root(b)
    pairs = ((690, 196, -14, 235), (595, 214, -36, 235), (465, 198, -20, 225), (360, 222, -46, 190))
    for y, left, right, length in pairs:
        leaf(b, 306, y, left, length)
        leaf(b, 316, y - 10, right, length)
    for width, ink in ((15, 255), (7, 0)):
        b.line(path("312 740 296 600 330 430 300 250 316 150"), width, ink)
    for x, y, r in ((170, 158, 58), (456, 166, 58), (314, 118, 76)):
        b.line(path(f"308 280 {(x + 308) / 2} 220 {x} {y}"), 7)
        flower(b, x, y, r)
    b.frame()
    return b


def _root(b: Block) -> None:
    """Draw the ground and the root of the herb."""
    ground = "-20 720 150 690 300 704 460 690 640 716 640 742 440 722 300 734 140 720 -20 748"
    b.shape(path(ground), 0.45, 20, 0, 9)
    for k in range(9):
        t = k * 0.8 - 3.2
        b.line(path(f"0 -10 {t * 26} 40 {t * 50 - 10} {60 + k * 37 % 50} {t * 72} {100 + k * 53 % 70}", 310, 700), 7)
        b.line(path(f"{t * 34} 45 {t * 40 + 16} 90 {t * 44} 150", 310, 700))


def cosmos(font: Path) -> Block:
    """Draw the spheres of the planets around the four elements."""
    b = Block(600, 600, font)
    b.shape(box(0, 0, 600, 600), 0.5, 45, pitch=9)
    for x, y in box(66, 66, 534, 534):
        b.shape(arc(x, y, 46))
        sun(b, x, y, 22)
    for k, name in enumerate(SPHERES):
        _sphere(b, name, 278 - 25 * k, 80 + 137 * k % 200, 0.4 * (k % 2 == 0))
    _elements(b)
    b.frame()
    return b


def _sphere(b: Block, name: str, r: float, turn: float, tone: float) -> None:
    """Draw one heavenly sphere of the cosmos, with its name and its planet."""
    b.shape(arc(300, 300, r), tone, lambda i, j: 150 * np.arctan2(j - 300, i - 300), 4, 10)
    reach, middle = len(name) * 560 / r, r - 14
    low, high = -90 - reach, -90 + reach
    b.shape([*arc(300, 300, r - 3, 0, low, high), *arc(300, 300, r - 24, 0, high, low)], edge=0)
    for k, letter in enumerate(name):
        at = (2 * k + 1 - len(name)) * 510 / r
        x, y = 300 + middle * np.sin(np.radians(at)), 300 - middle * np.cos(np.radians(at))
        b.letter(letter, x, y, 25, at)
    star(b, 300 + middle * np.sin(np.radians(turn)), 300 - middle * np.cos(np.radians(turn)), 11)


def _elements(b: Block) -> None:
    """Draw the middle of the cosmos: fire and air around water and earth."""
    b.shape(arc(300, 300, 78), 0)
    for t in np.radians(np.arange(0, 360, 15)):
        flame = ((60, -0.1), (76, 0.06), (60, 0.1))
        b.shape([(300 + q * np.cos(t + d), 300 + q * np.sin(t + d)) for q, d in flame], 0.7)
    b.shape(arc(300, 300, 58), 0.45, lambda i, j: j + 4 * np.sin(i / 6), 4)
    b.shape(path("-48 20 -38 -10 -10 -32 22 -28 46 0 50 22 0 36 -48 20", 300, 300), 0.2, 10, 3, 7)
    tower(b, 282, 312, 26, 30, spire=True)
