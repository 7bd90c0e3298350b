"""Draw pictures as in herbals, treatises and newspapers: plants, surveys, roundels, photographs in print."""

import cv2
import numpy as np

from bench.synthesis.diagrams import Drawing, on_circle
from bench.synthesis.ink import BLACK, BROWN, Array, colour_mask, distort, draw_screen, resize, trim

# A plant may fill a page, so it is drawn larger than a diagram.
PLANT_SIDE = 480  # pixels


def draw_plant(rng: np.random.Generator) -> Array:
    """Return the ink of a plant of a herbal: roots, a stem with branches, leaves and flowers, often coloured."""
    d = Drawing(rng, PLANT_SIDE)
    d.width = int(rng.integers(2, 7))
    coloured = bool(rng.random() < 0.6)
    blade = rng.uniform(0.15, 0.7)  # width of a leaf, as a share of its length
    for _ in range(rng.choice([1, 1, 2, 3])):
        _draw_stem(d, blade, coloured)
    if rng.random() < 0.7:
        for angle in rng.uniform(0.15 * np.pi, 0.85 * np.pi, rng.integers(3, 9)):
            d.line(_bend(rng, np.array([0.5, 0.8]), angle, rng.uniform(0.06, 0.18)))
    ink = trim(distort(d.ink, rng.uniform(0, 4), rng))
    return resize(ink, ink.shape[1], round(ink.shape[0] * rng.uniform(1, 1.5)))


def _draw_stem(d: Drawing, blade: float, coloured: bool) -> None:
    rng = d.rng
    stem = _bend(rng, np.array([0.5, 0.8]), rng.uniform(-0.65, -0.35) * np.pi, rng.uniform(0.45, 0.75))
    d.line(stem)
    if rng.random() < 0.4:
        d.line(stem + rng.uniform(0.006, 0.012))
    for place in range(1, len(stem) - 1, int(rng.integers(1, 3))):
        for side in (-1, 1):
            if rng.random() < 0.75:
                angle = rng.uniform(0.15, 0.45) * np.pi
                branch = _bend(rng, stem[place], -np.pi / 2 + side * angle, rng.uniform(0.04, 0.22))
                d.line(branch)
                _draw_leaf(d, branch, blade, coloured)
    if rng.random() < 0.7:
        _draw_flower(d, stem[-1], coloured)


def _bend(rng: np.random.Generator, start: np.ndarray, angle: float, length: float) -> np.ndarray:
    """Return the ``(9, 2)`` points of a bent line."""
    angles = angle + np.cumsum(rng.normal(0, 0.12, 8))
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length / 8
    return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])


def _draw_leaf(d: Drawing, branch: np.ndarray, blade: float, coloured: bool) -> None:
    axis = branch[-1] - branch[0]
    length = float(np.clip(np.hypot(*axis) * d.rng.uniform(0.5, 1.3), 0.02, 0.2))
    along = axis / max(np.hypot(*axis), 1e-6)
    across = np.array([-along[1], along[0]]) * blade * length / 2
    place = np.linspace(0, 1, 12)[:, None]
    width = np.sin(np.pi * place**0.7)
    if d.rng.random() < 0.3:  # a lobed leaf
        width *= 1 + 0.35 * np.sin(place * 6 * np.pi)
    edge = branch[-1] + place * along * length
    outline = np.concatenate([edge + width * across, (edge - width * across)[::-1]])
    if coloured:
        d.wash(outline)
    d.line(outline, closed=True)
    if d.rng.random() < 0.6:
        d.line(edge)


def _draw_flower(d: Drawing, point: np.ndarray, coloured: bool) -> None:
    radius = d.rng.uniform(0.02, 0.07)
    petals = int(d.rng.integers(4, 12))
    angles = np.arange(petals) * 2 * np.pi / petals
    for centre in on_circle(point[0], point[1], radius, angles):
        outline = on_circle(centre[0], centre[1], 0.6 * radius, np.linspace(0, 2 * np.pi, 14))
        if coloured:
            d.wash(outline)
        d.line(outline, closed=True)


def draw_survey(rng: np.random.Generator) -> Array:
    """Return the ink of a survey in thin lines: towers, sight lines, an instrument and letters."""
    d = Drawing(rng, 480)
    d.width = int(rng.integers(2, 5))
    ground = rng.uniform(0.7, 0.92)
    d.line(np.array([(0.04, ground), (0.96, ground)]))
    eye = np.array([rng.uniform(0.05, 0.3), ground - rng.uniform(0.02, 0.2)])
    for x in rng.uniform(0.4, 0.92, rng.integers(1, 4)):
        tall, wide = rng.uniform(0.15, 0.6), rng.uniform(0.02, 0.07)
        foot, top = ground, ground - tall
        d.line(np.array([(x - wide, foot), (x - wide, top), (x + wide, top), (x + wide, foot)]))
        if rng.random() < 0.6:
            d.line(np.array([(x - wide, top), (x, top - 1.5 * wide), (x + wide, top)]))
        for target in ((x, top), (x, foot)):
            d.line(np.array([eye, target]), second=bool(rng.random() < 0.3))
        d.write(x, top - 0.04)
    _draw_quadrant(d, eye)
    for _ in range(rng.integers(0, 5)):
        d.write(*rng.uniform(0.1, 0.9, 2))
    return trim(distort(d.ink, rng.uniform(0, 2), rng))


def _draw_quadrant(d: Drawing, eye: np.ndarray) -> None:
    radius = d.rng.uniform(0.05, 0.2)
    d.line(on_circle(eye[0], eye[1], radius, np.linspace(-np.pi / 2, 0, 20)))
    for angle in np.linspace(-np.pi / 2, 0, int(d.rng.integers(3, 12))):
        d.line(np.concatenate([on_circle(eye[0], eye[1], share * radius, np.array([angle])) for share in (0.85, 1)]))
    d.write(*(eye + np.array([-0.02, 0.03])))


def draw_roundel(rng: np.random.Generator, picture: Array) -> Array:
    """Return the ink of a roundel: the middle of a picture in a ring, as for a sign of the zodiac."""
    side = int(rng.integers(120, 260))
    high, wide = picture.shape[:2]
    inner = min(high, wide)
    top, left = (high - inner) // 2, (wide - inner) // 2
    ink = resize(picture[top : top + inner, left : left + inner], side, side)
    outside = np.ones((side, side), np.uint8)
    cv2.circle(outside, (side // 2, side // 2), side // 2 - 4, 0, -1)
    ring = np.zeros((side, side), np.float32)
    for gap in (3, int(rng.integers(6, 16)))[: rng.integers(1, 3)]:
        cv2.circle(ring, (side // 2, side // 2), side // 2 - gap, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
    ink = np.where(outside[..., None] > 0, 1, ink) * colour_mask(ring, (BLACK, BROWN)[rng.integers(2)], 0.9)
    return ink.astype(np.float32)


def draw_photograph(rng: np.random.Generator) -> Array:
    """Return the ink of a photograph in print: soft shapes in grey, often through a screen of dots."""
    high, wide = (int(side) for side in rng.integers(160, 420, 2))
    tones = np.zeros((high, wide), np.float32)
    for octave in (2, 4, 8, 24):
        noise = rng.normal(0, 1 / octave**0.7, (octave, octave)).astype(np.float32)
        tones += cv2.resize(noise, (wide, high), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(1, 6)):
        blob = np.zeros_like(tones)
        centre = (int(rng.integers(wide)), int(rng.integers(high)))
        axes = (int(rng.integers(8, wide // 3)), int(rng.integers(8, high // 2)))
        cv2.ellipse(blob, centre, axes, int(rng.integers(180)), 0, 360, float(rng.normal(0, 1.2)), -1)
        tones += cv2.GaussianBlur(blob, (0, 0), rng.uniform(0.5, 4))
    light = (tones - tones.min()) / max(float(np.ptp(tones)), 1e-6) * rng.uniform(0.7, 0.95) + 0.05
    if rng.random() < 0.6:
        screen = draw_screen(high, wide, rng) / 4 + 0.5
        light = np.clip((light - screen) * 4 + 0.5, 0.05, 1)
    return np.repeat(light[..., None], 3, axis=2).astype(np.float32)
