"""Make illustrations of pictures in folders, such as clip art: alone, or in a scene with ground, sky and frame."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from bench.synthesis.engraving import STYLES
from bench.synthesis.ink import BLACK, Array, colour_mask, resize, trim
from bench.synthesis.sheets import Cut

# Width in pixels of the page on which a picture is drawn, so that lines get their final width.
WIDTH = 600
# Least length of the shorter side, and largest of the longer side, in pixels. Smaller pictures are icons.
SMALLEST, LARGEST = 40, 640
# Highest ratio of the sides.
FLATTEST = 5
# Light from which a margin is empty.
EMPTY = 0.85
# Number of pictures for a set of synthetic pages, and the share of them that is drawn in a scene.
MOTIFS, SCENES = 800, 0.4


def draw_motifs(folders: Sequence[Path], seed: int, count: int = MOTIFS) -> list[Cut]:
    """Return pictures of some folders as illustrations, each in one of the styles of ``engraving``.

    Args:
        folders: Folders with PNG files, also in subfolders.
        seed: Seed of the random generator.
        count: Number of files that are chosen; those that are not usable are left out.
    """
    paths = [path for folder in folders for path in sorted(folder.rglob("*.png"))]
    cuts = []
    for number in np.random.default_rng(seed).permutation(len(paths))[:count].tolist():
        rng = np.random.default_rng([seed, number])
        picture = load_motif(paths[number])
        if picture is None:
            continue
        scene, style = bool(rng.random() < SCENES), STYLES[rng.integers(len(STYLES))]
        share = float(rng.choice([rng.uniform(0.08, 0.3), rng.uniform(0.2, 0.6), rng.uniform(0.5, 0.85)]))
        if scene:
            others = [load_motif(paths[rng.integers(len(paths))]) for _ in range(rng.integers(0, 3))]
            picture = compose_scene([each for each in (picture, *others) if each is not None], rng)
        wide = round(share * WIDTH)
        picture = resize(picture, wide, max(12, round(wide * picture.shape[0] / picture.shape[1])))
        ink = style(picture, rng)
        cuts.append(Cut(f"{style.__name__} {scene}", _frame(ink, rng) if scene else trim(ink, EMPTY), share))
    return cuts


def load_motif(path: Path) -> Array | None:
    """Load a picture on white ground without its empty edges, ``(h, w, 3)`` in [0, 1]; None if it is not usable.

    A picture on a black ground is a light drawing on the sky: it is inverted.
    """
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 3 or min(stored.shape[:2]) < SMALLEST:
        return None
    factor = min(1.0, LARGEST / max(stored.shape[:2]))
    reduced = cv2.resize(stored, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.float32)
    pixels: Array = reduced / max(255.0, float(reduced.max()))
    light = pixels[..., 2::-1]
    if pixels.shape[2] == 4:
        light = 1 - (1 - light) * pixels[..., 3:]
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    if np.median(border) < 0.1:
        light = 1 - light
    picture = trim(light, EMPTY)
    high, wide = picture.shape[:2]
    if min(high, wide) < SMALLEST or max(high, wide) > FLATTEST * min(high, wide):
        return None
    return picture


def compose_scene(pictures: Sequence[Array], rng: np.random.Generator) -> Array:
    """Return a picture of several ones next to each other, on a ground and before a sky."""
    wide, high = int(rng.integers(360, 640)), int(rng.integers(300, 640))
    horizon = int(high * rng.uniform(0.35, 0.75))
    scene: Array = np.ones((high, wide, 3), np.float32)
    scene[:horizon] -= np.linspace(rng.uniform(0, 0.6), 0, horizon, dtype=np.float32)[:, None, None]
    ground = cv2.resize(rng.uniform(0.1, 0.9, (5, 7)).astype(np.float32), (wide, high - horizon))
    scene[horizon:] -= rng.uniform(0.1, 0.9) * ground[..., None]
    for place, picture in enumerate(pictures):
        slot = wide / len(pictures)
        factor = min(slot * rng.uniform(0.7, 1.05) / picture.shape[1], high * rng.uniform(0.4, 0.9) / picture.shape[0])
        small = resize(picture, max(8, int(picture.shape[1] * factor)), max(8, int(picture.shape[0] * factor)))
        left = int(np.clip(slot * (place + 0.5) - small.shape[1] / 2, 0, max(0, wide - small.shape[1])))
        foot = min(high - 4, horizon + int(rng.integers(0, max(1, high - horizon))))
        top = max(0, foot - small.shape[0])
        spot = scene[top : top + small.shape[0], left : left + small.shape[1]]
        small = small[: spot.shape[0], : spot.shape[1]]
        empty = small.min(axis=2, keepdims=True) > 0.97
        spot[:] = np.where(empty, spot, small)
    return np.clip(scene, 0, 1)


def _frame(ink: Array, rng: np.random.Generator) -> Array:
    """Draw the frame of a scene: one or two rules, an oval, or none."""
    high, wide = ink.shape[:2]
    kind = rng.choice(["rules", "oval", "none"], p=(0.6, 0.2, 0.2))
    mask = np.zeros((high, wide), np.float32)
    if kind == "rules":
        for inset in (1, int(rng.integers(4, 9)))[: rng.integers(1, 3)]:
            corner = wide - 1 - inset, high - 1 - inset
            cv2.rectangle(mask, (inset, inset), corner, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
    elif kind == "oval":
        centre, axes = (wide // 2, high // 2), (wide // 2 - 3, high // 2 - 3)
        inside = np.zeros((high, wide), np.float32)
        cv2.ellipse(inside, centre, axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
        ink = 1 - (1 - ink) * inside[..., None]
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1.0, int(rng.integers(1, 5)), cv2.LINE_AA)
    return trim((ink * colour_mask(mask, BLACK, 0.9)).astype(np.float32), EMPTY)
