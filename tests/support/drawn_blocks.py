"""Draw printing blocks, prints of them, and copies cut after them."""

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def draw_block(seed: int, width: int = 300, height: int = 240) -> Picture:
    """Return a grey picture of hatched shapes in a frame, black on white."""
    rng = np.random.default_rng(seed)
    block = np.full((height, width), 255, np.uint8)
    cv2.rectangle(block, (4, 4), (width - 5, height - 5), 0, 2)
    for _ in range(14):
        centre = rng.integers((20, 20), (width - 20, height - 20))
        axes, angle = rng.integers(12, 50, 2), int(rng.integers(0, 180))
        cv2.ellipse(block, centre.tolist(), axes.tolist(), angle, 0, 360, 0, 2, cv2.LINE_AA)
        direction = rng.uniform(0, np.pi)
        along = np.array([np.cos(direction), np.sin(direction)])
        across = np.array([-along[1], along[0]]) * rng.uniform(4, 7)
        for stroke in range(-4, 5):
            start, end = centre + across * stroke - along * 22, centre + across * stroke + along * 22
            cv2.line(block, start.astype(int).tolist(), end.astype(int).tolist(), 0, 1, cv2.LINE_AA)
    return block


def print_block(block: Picture, seed: int, ink: float = 1.0, wear: float = 0.0) -> Picture:
    """Return a print of a block as RGB: paper, ink and noise differ from print to print.

    Args:
        block: Picture of the block.
        seed: Seed of this print.
        ink: Darkness of the ink, 0 to 1.
        wear: Share of the surface where the ink is missing.
    """
    rng = np.random.default_rng(seed)
    height, width = block.shape
    spread = cv2.GaussianBlur(block.astype(np.float32) / 255, (0, 0), rng.uniform(0.6, 1.0))
    missing = cv2.resize(rng.random((height // 6 + 1, width // 6 + 1), np.float32), (width, height)) < wear
    coverage = (1 - spread) * ink * ~missing
    tone = 215 + 15 * cv2.resize(rng.random((4, 4), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    grey = tone * (1 - 0.8 * coverage) + rng.normal(0, 4, block.shape)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def recut_block(block: Picture, seed: int, deviation: float = 3.5) -> Picture:
    """Return a copy of a block: the lines run near those of the original, but not on them.

    Args:
        block: Picture of the block.
        seed: Seed of the copy.
        deviation: Standard deviation of the displacement of the lines, in pixels.
    """
    rng = np.random.default_rng(seed)
    height, width = block.shape
    shift = [rng.normal(0, 1, block.shape).astype(np.float32) for _ in range(2)]
    dx, dy = (cv2.GaussianBlur(each, (0, 0), 9) for each in shift)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = x + dx / dx.std() * deviation, y + dy / dy.std() * deviation
    copied = cv2.remap(block, *moved, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(copied, np.uint8)
