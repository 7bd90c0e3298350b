"""Draw the motifs of the woodcuts on a block: sun, moon, trees, towers, a ship, an armillary sphere."""

import numpy as np

from bench.sample.woodcut import Block, Field, arc, box, bulges, halves, path

HULL = "-140 -66 -92 -58 -80 -28 70 -28 86 -66 136 -76 116 -10 84 34 -70 34 -118 0 -140 -66"
# Circles of the armillary sphere: the parallels, then the colure, the zodiac and the horizon.
# Each is (tilt, lean, half the width, latitude, size, steps between marks), with angles in degrees.
BANDS = [(24, 24, 2, lat, 0.93, 10) for lat in (-66, -23.5, 0, 23.5, 66)]
BANDS += [(114, 12, 3, 0, 0.95, 10), (44, 38, 7, 0, 0.97, 5), (0, 24, 4, 0, 1.17, 2)]


def sun(b: Block, x: float, y: float, r: float) -> None:
    """Draw the sun, with its face of radius ``r`` and its rays."""
    for k in range(32):
        q = np.array([1, 1.4, 2.1 - 0.4 * (k % 2), 1.4, 1]) * r
        t = k * np.pi / 16 + np.array([-1, 0.5, 0, 1.5, 1]) * 0.09
        b.shape(np.stack([x + q * np.cos(t), y + q * np.sin(t)], axis=1), k % 2, edge=2)
    _disc(b, x, y, r)
    _face(b, x, y, r)


def moon(b: Block, x: float, y: float, r: float) -> None:
    """Draw the moon in its last quarter, with a face."""
    _disc(b, x, y, r)
    b.shape([*arc(x, y, r, r, -90, 90), *arc(x, y, r * 0.5, r, 90, -90)], 0.62, 20)
    _face(b, x - r * 0.2, y, r * 0.85)


def _disc(b: Block, x: float, y: float, r: float) -> None:
    """Draw the disc of the sun or the moon, shaded at its lower right."""
    b.shape(arc(x, y, r), lambda i, j: 0.5 * (np.hypot(i - x + r / 4, j - y + r / 4) > r * 0.85), 60, 4, 7)


def _face(b: Block, x: float, y: float, r: float) -> None:
    """Draw eyes, nose and mouth."""
    for eye in (x - r * 0.36, x + r * 0.36):
        b.line(arc(eye, y - r * 0.15, r * 0.2, r * 0.12, 190, 350))
        b.line(arc(eye, y - r * 0.22, r * 0.27, r * 0.2, 200, 340))
        b.shape(arc(eye, y - r * 0.17, r * 0.07), 1)
    b.line(path("-.1 -.3 -.06 .1 -.17 .25 0 .3", x, y, r))
    b.line(arc(x, y + r * 0.36, r * 0.3, r * 0.2, 20, 160), 4)


def star(b: Block, x: float, y: float, r: float) -> None:
    """Draw a six-pointed star, clear of the hatching around it."""
    b.shape(arc(x, y, r * 1.3), edge=0)
    t, q = np.radians(np.arange(12) * 30), r * (1 - 0.6 * (np.arange(12) % 2))
    b.shape(np.stack([x + q * np.sin(t), y - q * np.cos(t)], axis=1), halves(x, 0, 1), edge=2)


def cloud(b: Block, x: float, y: float, w: float) -> None:
    """Draw a cloud of three parts."""
    for dx, size in ((-0.55, 0.6), (0.5, 0.7), (0, 1)):
        b.shape(bulges(x + dx * w, y, w * size * 0.62, w * size * 0.32, 11), lambda i, j: 0.18 + 2 * (j - y) / w, 8)


def tree(b: Block, x: float, y: float, h: float) -> None:
    """Draw a tree of height ``h``; (``x``, ``y``) is the foot of the trunk."""
    b.shape(path("-.1 0 -.04 -.2 -.05 -.6 .05 -.6 .04 -.2 .1 0", x, y, h), 0.5, 80, 2, 5)
    for dx, dy, r in ((-0.17, -0.55, 0.22), (0.18, -0.58, 0.2), (0, -0.8, 0.24), (0.02, -0.55, 0.18)):
        crown = bulges(x + dx * h, y + dy * h, h * r, h * r, 9)
        b.shape(crown, _darken(x + dx * h, h), 30, 3, 6)


def _darken(x: float, width: float) -> Field:
    """Return a tone that gets darker from left to right; ``x`` is the middle of the gradient."""
    return lambda i, j: 0.35 + 1.8 * (i - x) / width


def tower(b: Block, x: float, y: float, w: float, h: float, spire: bool) -> None:
    """Draw a tower with a spire or battlements; (``x``, ``y``) is its lower left corner."""
    top, middle = y - h, x + w / 2
    b.shape(box(x, top, x + w, y), halves(middle + 3, 0.08, 0.58), pitch=7)
    if spire:
        b.shape([(x - 6, top), (middle, top - w * 1.7), (x + w + 6, top)], halves(middle, 0.3, 0.7), 75, pitch=6)
    for k in range(0 if spire else 4):
        b.shape(box(x - 6 + k * w * 0.32, top - 15, x - 6 + k * w * 0.32 + w * 0.2, top), 0.3, 90)
    for low in np.arange(top + 32, y - 30, 62):
        b.shape(box(x + w * 0.25, low, x + w * 0.42, low + 22), 1)


def ship(b: Block, x: float, y: float, s: float) -> None:
    """Draw a ship under sail at scale ``s``, with a lookout at the masthead."""
    for mast, top in ((-62, -150), (66, -150), (0, -215)):
        _rigging(b, x, y, s, mast, top)
    for mast, top, w in ((-62, -128, 34), (66, -128, 34), (0, -178, 50)):
        sail = path("-1 0 1 0 1.5 1 1 1.7 1 1.9 0 1.5 -1 1.9 -1 1.7 -.5 1 -1 0", x + mast * s, y + top * s, w * s)
        shade = halves(x + (mast + w * 0.5) * s, 0.08, 0.5)
        b.shape(sail, shade, lambda i, j: i + 8 * np.sin(j / 20), 4)
    b.shape(path("-14 -215 14 -215 9 -198 -9 -198", x, y, s), 0.5, 90)
    b.shape(arc(x, y - 224 * s, 6 * s), 0.7)
    b.line(path(HULL, x, y, s), 18, 0)
    b.shape(path(HULL, x, y, s), 0.6, lambda i, j: j + 14 * np.cos((i - x) / 80), 6, 11)
    for k in range(6):
        b.shape(arc(x + (k * 26 - 66) * s, y - 6 * s, 7 * s), 1, edge=0)


def _rigging(b: Block, x: float, y: float, s: float, mast: int, top: int) -> None:
    """Draw a mast with its stays and its pennant."""
    b.line(path(f"{mast} 0 {mast} {top}", x, y, s), 6)
    b.line(path(f"{mast - 44} -30 {mast} {top} {mast + 44} -30", x, y, s, soft=False), 2)
    b.shape(path("0 0 0 -26 44 -20 22 -14 42 -4 0 0", x + mast * s, y + top * s, s), 0.6, pitch=5)


def armillary(b: Block, x: float, y: float, r: float) -> None:
    """Draw an armillary sphere: the earth on its axis within the circles of heaven."""
    _circles(b, x, y, r, front=False)
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
    _circles(b, x, y, r, front=True)


def _circles(b: Block, x: float, y: float, r: float, front: bool) -> None:
    """Draw the front or the back halves of the circles of heaven."""
    for tilt, lean, half, lat, size, marks in BANDS:
        rims, near = _ring(tilt, lean, half, lat)
        _band(b, rims * r * size + (x, y), near, front, marks)


def _ring(tilt: float, lean: float, half: float, lat: float) -> tuple[np.ndarray, np.ndarray]:
    """Project a band of a unit sphere whose pole is tilted sideways and leans towards the viewer.

    Returns:
        Points of both rims, ``(2, n, 2)``, and the depth of the band at each point, ``(n,)``; positive is in front.
    """
    t, rims = np.radians(np.arange(0, 361, 3)), np.radians([[lat - half], [lat + half]])
    a, v = np.radians([tilt, lean])
    x, y, z = np.cos(rims) * np.cos(t), np.sin(rims) + 0 * t, np.cos(rims) * np.sin(t)
    y, z = y * np.cos(v) - z * np.sin(v), z * np.cos(v) + y * np.sin(v)
    return np.stack([x * np.cos(a) + y * np.sin(a), x * np.sin(a) - y * np.cos(a)], axis=-1), z.mean(axis=0)


def _band(b: Block, rims: np.ndarray, near: np.ndarray, front: bool, marks: int) -> None:
    """Draw the front or the back half of a band, with a mark every ``marks`` steps.

    Every second field of the zodiac, which has marks every 5 steps, is dark.
    """
    for k in np.flatnonzero((near[:-1] > 0) == front):
        dark = 0.85 if marks == 5 and k // 5 % 2 else 0.12 if front else 0.5
        b.shape([*rims[0, k : k + 2], *rims[1, [k + 1, k]]], dark, 90, 0, 6)
        for rim in rims:
            b.line(rim[k : k + 2], 5 if front else 3)
        if k % marks == 0:
            b.line(rims[:, k], 2)


def vine(b: Block, wide: float) -> None:
    """Draw a black border, ``wide`` pixels, with a white vine winding through it."""
    w, h = b.width, b.height
    for x, y, upright, length in ((0, 0, False, w), (0, h - wide, False, w), (0, 0, True, h), (w - wide, 0, True, h)):
        _tendril(b, wide, x, y, upright, length)
    for x, y in box(wide / 2, wide / 2, w - wide / 2, h - wide / 2):
        b.shape(bulges(x, y, 25, 25, 6), edge=0)
        b.shape(arc(x, y, 8), 1)
    for at, width, ink in ((wide + 5, 10, 0), (wide + 8, 3, 255)):
        b.line(box(at, at, w - at, h - at)[[0, 1, 2, 3, 0]], width, ink)


def _tendril(b: Block, wide: float, x: float, y: float, upright: bool, length: float) -> None:
    """Draw one side of the vine border, with its stem and flowers."""
    turn = np.eye(2)[::-1] if upright else np.eye(2)
    b.shape(box(0, 0, length, wide) @ turn + (x, y), 1)
    n, s = round((length - 2 * wide) / 56), np.linspace(wide, length - wide, 600)
    b.line(np.stack([s, wide / 2 + 13 * np.sin(np.linspace(0, n * np.pi, 600))], axis=1) @ turn + (x, y), 5, 0)
    for k in range(n):
        cx, cy = np.array([wide + (k + 0.5) * (length - 2 * wide) / n, wide / 2 - (-1) ** k * 9]) @ turn + (x, y)
        b.shape(bulges(cx, cy, 14, 14, 5), edge=0)
        b.shape(arc(cx, cy, 4), 1)


def leaf(b: Block, x: float, y: float, turn: float, length: float) -> None:
    """Draw a toothed leaf with its lower half shaded; ``turn`` is its direction in degrees."""
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
    """Draw a flower of eight petals."""
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
