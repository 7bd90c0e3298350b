"""Draw diagrams as in manuscripts and treatises, in thin lines: spheres, volvelles, charts, geometric figures."""

from collections.abc import Callable

import cv2
import numpy as np

from bench.synthesis.ink import BLACK, BLUE, BROWN, GREEN, RED, YELLOW, Array, colour_mask, distort, trim
from bench.synthesis.letters import draw_letters, make_words

FINE = 3  # lines are drawn at this scale and then reduced, so that they can be thinner than a pixel

Draw = Callable[[np.ndarray, np.ndarray], None]  # (mask, corners in pixels of the mask)


class Drawing:
    """A square canvas with two ink colours.

    Lines have the first colour unless ``second`` is set; letters have the second. Coordinates are between 0 and 1.

    Attributes:
        rng: Random generator.
        side: Width and height, in pixels.
        ink: Ink drawn so far, ``(side, side, 3)``.
        inks: The two colours.
        strength: Opacity of the ink, from 0 to 1.
        width: Width of the lines, in pixels at the scale ``FINE``.
    """

    def __init__(self, rng: np.random.Generator, side: int = 320) -> None:
        self.rng, self.side = rng, side
        self.ink = np.ones((side, side, 3), np.float32)
        inks = [BLACK, BROWN, RED, BLUE]
        first, second = rng.choice(4, 2, p=(0.35, 0.25, 0.3, 0.1))
        self.inks = (inks[first], inks[second])
        self.strength = rng.uniform(0.45, 1)
        self.width = int(rng.integers(2, 6))

    def line(self, points: np.ndarray, closed: bool = False, second: bool = False) -> None:
        """Draw a line through ``(n, 2)`` points."""

        def draw(mask: np.ndarray, corners: np.ndarray) -> None:
            cv2.polylines(mask, [corners], closed, 255, self.width, cv2.LINE_AA)

        self._draw(draw, points, self.inks[second], self.strength)

    def circle(self, x: float, y: float, radius: float, second: bool = False) -> None:
        self.line(on_circle(x, y, radius, np.linspace(0, 2 * np.pi, 90)), closed=True, second=second)

    def wash(self, points: np.ndarray) -> None:
        """Fill an outline with a translucent colour."""

        def fill(mask: np.ndarray, corners: np.ndarray) -> None:
            cv2.fillPoly(mask, [corners], 255)

        colour = (RED, BLUE, GREEN, YELLOW)[self.rng.integers(4)]
        self._draw(fill, points, colour, self.rng.uniform(0.2, 0.7))

    def write(self, x: float, y: float, words: int = 1, turn: float = 0) -> None:
        """Write small letters centred at a point, rotated by ``turn`` degrees."""
        text = make_words(self.rng, words, capitals=self.rng.random() < 0.3)[: int(self.rng.integers(1, 14))]
        word = draw_letters(text, int(self.rng.integers(9, 15)), "STIXGeneral.ttf")
        mask = np.zeros((self.side, self.side), np.float32)
        top, left = int(y * self.side - word.shape[0] / 2), int(x * self.side - word.shape[1] / 2)
        if top < 0 or left < 0:
            return
        spot = mask[top : top + word.shape[0], left : left + word.shape[1]]
        spot[:] = word[: spot.shape[0], : spot.shape[1]]
        middle = cv2.getRotationMatrix2D((x * self.side, y * self.side), turn, 1)
        self.ink *= colour_mask(cv2.warpAffine(mask, middle, (self.side, self.side)), self.inks[1], self.strength)

    def _draw(self, draw: Draw, points: np.ndarray, colour: tuple[float, float, float], strength: float) -> None:
        """Draw in the part of the canvas that the points cover."""
        corners = (np.asarray(points) * self.side * FINE).round().astype(np.int32)
        reach = self.width // FINE + 2  # half a line and its soft edge
        x1, y1 = np.clip(corners.min(axis=0) // FINE - reach, 0, self.side - 1).tolist()
        x2, y2 = np.clip(corners.max(axis=0) // FINE + reach, 1, self.side).tolist()
        if x2 <= x1 or y2 <= y1:
            return
        mask = np.zeros(((y2 - y1) * FINE, (x2 - x1) * FINE), np.uint8)
        draw(mask, corners - np.array([x1, y1]) * FINE)
        reduced = cv2.resize(mask, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        self.ink[y1:y2, x1:x2] *= colour_mask(reduced, colour, strength)


def on_circle(x: float, y: float, radius: float, angles: np.ndarray) -> np.ndarray:
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def draw_spheres(d: Drawing) -> None:
    """Draw concentric circles, divided by radii, with words in the rings: the heavens, a volvelle, a wheel."""
    radii = np.sort(d.rng.uniform(0.05, 0.48, d.rng.integers(2, 8)))
    if d.rng.random() < 0.3:
        d.wash(on_circle(0.5, 0.5, radii[-1], np.linspace(0, 2 * np.pi, 60)))
    for radius in (*radii, 0.48):
        d.circle(0.5, 0.5, radius, second=bool(d.rng.random() < 0.3))
    parts, turn = int(d.rng.choice([0, 0, 4, 6, 7, 8, 12, 24])), d.rng.uniform(0, 1)
    for angle in turn + np.arange(parts) * 2 * np.pi / max(parts, 1):
        inner = radii[0] if d.rng.random() < 0.9 else 0
        d.line(np.concatenate([on_circle(0.5, 0.5, r, np.array([angle])) for r in (inner, 0.48)]))
    for radius in radii:
        for angle in d.rng.uniform(0, 2 * np.pi, d.rng.integers(0, 4)):
            x, y = on_circle(0.5, 0.5, radius, np.array([angle]))[0]
            d.write(x, y, turn=-np.degrees(angle) - 90)


def draw_circles(d: Drawing) -> None:
    """Draw separate or overlapping circles: eclipses, the Trinity, the humours."""
    for x, y in d.rng.uniform(0.25, 0.75, (d.rng.integers(2, 6), 2)):
        radius = d.rng.uniform(0.08, 0.24)
        d.circle(x, y, radius, second=bool(d.rng.random() < 0.4))
        if d.rng.random() < 0.25:
            d.wash(on_circle(x, y, radius, np.linspace(0, 2 * np.pi, 60)))
        if d.rng.random() < 0.6:
            d.write(x, y)
        if d.rng.random() < 0.3:
            d.line(np.array([(x, y), *d.rng.uniform(0.05, 0.95, (1, 2))]))


def draw_chart(d: Drawing) -> None:
    """Draw nested squares with their diagonals: a horoscope, a square of opposition."""
    for inset in (0.03, *d.rng.uniform(0.06, 0.35, d.rng.integers(1, 3))):
        d.line(np.array([(inset, inset), (1 - inset, inset), (1 - inset, 1 - inset), (inset, 1 - inset)]), closed=True)
    d.line(np.array([(0.5, 0.03), (0.97, 0.5), (0.5, 0.97), (0.03, 0.5)]), closed=True)
    for points in ((0.03, 0.03, 0.97, 0.97), (0.97, 0.03, 0.03, 0.97)):
        if d.rng.random() < 0.8:
            d.line(np.array(points).reshape(2, 2), second=bool(d.rng.random() < 0.3))
    for x, y in d.rng.uniform(0.1, 0.9, (d.rng.integers(2, 12), 2)):
        d.write(x, y)


def draw_geometry(d: Drawing) -> None:
    """Draw a polygon or a star in a circle, with letters at its corners."""
    corners = int(d.rng.integers(3, 10))
    angles = d.rng.uniform(0, 6) + np.arange(corners) * 2 * np.pi / corners + d.rng.normal(0, 0.15, corners)
    points = on_circle(0.5, 0.5, 0.42, angles)
    if d.rng.random() < 0.6:
        d.circle(0.5, 0.5, 0.42, second=True)
    step = int(d.rng.integers(1, max(2, corners // 2)))
    for k in range(corners):
        d.line(points[[k, (k + step) % corners]])
        d.write(*on_circle(0.5, 0.5, 0.45, angles[k : k + 1])[0])
    for a, b in d.rng.integers(0, corners, (d.rng.integers(0, 4), 2)):
        d.line(points[[a, b]], second=True)


def draw_tree(d: Drawing) -> None:
    """Draw circles connected by lines: a genealogy, a division of knowledge."""
    rows = int(d.rng.integers(2, 5))
    above = np.array([(0.5, 0.1)])
    for row in range(1, rows):
        below = _spread(min(row + int(d.rng.integers(1, 3)), 6), 0.1 + 0.8 * row / (rows - 1))
        for point in below:
            d.line(np.array([point, above[np.abs(above[:, 0] - point[0]).argmin()]]), second=True)
        for x, y in above:
            d.circle(x, y, 0.07)
            d.write(x, y)
        above = below
    for x, y in above:
        d.circle(x, y, 0.07)
        d.write(x, y)


def _spread(count: int, y: float) -> np.ndarray:
    return np.stack([np.linspace(0.1, 0.9, count), np.full(count, y)], axis=1)


def draw_diagram(rng: np.random.Generator) -> Array:
    """Return the ink of a random diagram, cropped to what is drawn."""
    drawing = Drawing(rng)
    kinds = (draw_spheres, draw_circles, draw_chart, draw_geometry, draw_tree)
    kinds[rng.choice(5, p=(0.45, 0.2, 0.1, 0.15, 0.1))](drawing)
    ink = distort(drawing.ink, rng.uniform(0, 2.5), rng)
    return trim(ink)
