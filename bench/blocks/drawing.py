"""Draw blocks, worn prints of them, and copies that were cut again after the same design."""

from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.blocks.labelled import SAME, Image, LabelledPair, LabelledPrints, Query
from bench.sample.woodcut import Block
from bench.synthesis.ink import distort

Ink = NDArray[Any]

MOST_PRINTS = 4
# Figures of a block, and standard deviation of the places of their corners in a copy, in pixels.
FIGURES, RECUT = 9, 3.0
# Standard deviation of the displacement of lines by paper that has shrunk, in pixels.
SHRINKAGE = 0.4


def draw_prints(blocks: int, seed: int = 0) -> LabelledPrints:
    """Draw prints of blocks, and label all pairs that are worth labelling.

    A third of the blocks has a single print. A sixth of the others has a print of a copy.

    Args:
        blocks: Number of blocks.
        seed: Seed of the random generator.
    """
    rng = np.random.default_rng(seed)
    images: list[Image] = []
    groups: list[list[int]] = []
    copies: dict[int, int] = {}
    for number in range(blocks):
        block = cut_block(number, rng, 0)
        count = 1 if number % 3 == 0 else int(rng.integers(2, MOST_PRINTS + 1))
        groups.append(list(range(len(images), len(images) + count)))
        images += [make_print(block, rng) for _ in range(count)]
        if number % 9 == 1:
            copies[number] = len(images)
            images.append(make_print(cut_block(number, rng, RECUT), rng))
    pairs = [LabelledPair(*pair, SAME) for group in groups for pair in combinations(group, 2)]
    pairs += [LabelledPair(one, copy, "copy") for number, copy in copies.items() for one in groups[number]]
    pairs += [LabelledPair(groups[k][0], groups[k + 1][0], "different") for k in range(blocks - 1)]
    queries = [
        Query(image, frozenset(group) - {image}, frozenset({copies[number]} if number in copies else ()))
        for number, group in enumerate(groups)
        if len(group) > 1
        for image in group
    ]
    return LabelledPrints(images, pairs, queries)


def cut_block(design: int, rng: np.random.Generator, spread: float) -> Ink:
    """Return what a block prints, 1 for paper and 0 for ink: a frame with hatched figures.

    Args:
        design: Number of the design.
        rng: Random generator of the cutter, who never hatches twice in the same way.
        spread: Standard deviation of the distance between lines and their place in the design, in pixels.
    """
    plan = np.random.default_rng(design)
    width, height = (int(side) for side in plan.integers(160, 320, 2))
    block = Block(width, height, Path())
    for _ in range(FIGURES):
        angles = np.sort(plan.uniform(0, 2 * np.pi, plan.integers(4, 12)))
        radii = plan.uniform(15, 60) * plan.uniform(0.5, 1, len(angles))
        centre = plan.uniform((20, 20), (width - 20, height - 20))
        corners = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        tone, rule, pitch = plan.uniform(0.1, 0.6), plan.uniform(0, 180), plan.uniform(5, 9)
        shift = rng.normal(0, spread, (len(corners), 2))
        block.shape(corners + shift, tone, rule + 2 * shift.mean(), 2, pitch + 0.2 * shift.mean())
    block.frame()
    surface = cv2.resize(np.asarray(block.image), (width, height), interpolation=cv2.INTER_AREA)
    return (1 - surface / 255).astype(np.float32)


def make_print(block: Ink, rng: np.random.Generator) -> Image:
    """Print a block: more or less ink, shrunken and tilted paper, a crop that is not exact, and the damage of age."""
    height, width = block.shape
    change = cv2.erode if rng.random() < 0.5 else cv2.dilate
    share = rng.uniform(0, 0.6)
    ink: Ink = (1 - share) * block + share * change(block, np.ones((2, 2)))
    ink = distort(np.asarray(ink, np.float32), SHRINKAGE, rng)
    margins = rng.integers(2, 14, 4)
    ink = np.pad(ink, (margins[:2], margins[2:]), constant_values=1.0)
    size = ink.shape[1], ink.shape[0]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-3, 3), rng.uniform(0.96, 1.04))
    tilted = cv2.warpAffine(ink, turn, size, borderValue=1.0)
    # Some places print faintly.
    strength = cv2.resize(rng.uniform(0.3, 1, (4, 4)), size, interpolation=cv2.INTER_CUBIC).clip(0.2, 1)
    light = 0.15 + 0.85 * (1 - (1 - tilted) * strength)
    paper = np.array([222, 208, 180]) + rng.normal(0, 8)
    page = paper * light[..., None] + rng.normal(0, 6, (*light.shape, 1))
    page = cv2.GaussianBlur(page, (0, 0), rng.uniform(0.5, 1.1))
    _, data = cv2.imencode(".jpg", page.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
