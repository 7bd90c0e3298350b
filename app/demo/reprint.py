"""The second document of the demo: a reprint of the sample document, and the woodcuts of both documents.

The reprint has the same woodcuts on other paper, in another order, smaller and slightly rotated. One of them is
mirrored, as prints are whose block was copied from an earlier print. The demo makes the reprint itself, so the true
pairs are known.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.demo.contact_sheet import Box
from app.images.pixels import decode_picture

# The woodcuts of each page, in the order of truth.json.
BLOCKS = {
    "page_0001.jpg": ("frontispiece",),
    "page_0002.jpg": ("herb",),
    "page_0003.jpg": (),
    "page_0004.jpg": ("landscape", "cosmos"),
}
# The pages in their new order, each with its rotation in degrees, anticlockwise.
LEAVES = (("page_0001.jpg", 1.2), ("page_0004.jpg", -0.9), ("page_0003.jpg", 0.5), ("page_0002.jpg", -1.4))
MIRRORED = "landscape"
HEIGHT = 1800
INK, PAPER = "#23262e", "#dde2e4"


@dataclass(frozen=True)
class Woodcut:
    """A woodcut on a page.

    Attributes:
        block: Name of the block that it was printed from.
        page: File name of the page.
        box: True box ``x y w h`` in pixels of the page.
        mirrored: Whether it is the mirror image of the woodcut in the sample document.
    """

    block: str
    page: str
    box: Box
    mirrored: bool = False


def read_woodcuts(sample: Path) -> list[Woodcut]:
    """Return the woodcuts of the sample document."""
    truth = json.loads((sample / "truth.json").read_text())
    return [
        Woodcut(block, page, (x, y, w, h))
        for page, boxes in truth.items()
        for block, (x, y, w, h) in zip(BLOCKS[page], boxes, strict=True)
    ]


def make_reprint(sample: Path, folder: Path) -> list[Woodcut]:
    """Write the pages of the reprint to a new folder; return their woodcuts."""
    folder.mkdir(parents=True)
    known, reprinted = read_woodcuts(sample), []
    for number, (source, degrees) in enumerate(LEAVES, 1):
        name = f"leaf_{number:04}.jpg"
        woodcuts = [each for each in known if each.page == source]
        with (sample / source).open("rb") as file:
            page = decode_picture(file)[0].convert("L")
        size = round(page.width * HEIGHT / page.height), HEIGHT
        boxes = rotate_boxes([each.box for each in woodcuts], page.size, degrees) * (HEIGHT / page.height)
        _print_page(page, woodcuts, degrees).resize(size, Image.Resampling.LANCZOS).save(folder / name, quality=85)
        for each, (x, y, w, h) in zip(woodcuts, boxes.round().astype(int).tolist(), strict=True):
            reprinted.append(Woodcut(each.block, name, (x, y, w, h), mirrored=each.block == MIRRORED))
    return reprinted


def _print_page(page: Image.Image, woodcuts: Sequence[Woodcut], degrees: float) -> Image.Image:
    """Return a page in the colours of the reprint, rotated, with the woodcut ``MIRRORED`` mirrored."""
    for x, y, w, h in (each.box for each in woodcuts if each.block == MIRRORED):
        page.paste(ImageOps.mirror(page.crop((x, y, x + w, y + h))), (x, y))
    coloured = ImageOps.colorize(ImageOps.autocontrast(page, cutoff=1), black=INK, white=PAPER)
    return coloured.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=INK)


def rotate_boxes(boxes: Sequence[Box], size: tuple[int, int], degrees: float) -> NDArray[np.float64]:
    """Return the bounding boxes ``(n, 4)`` of boxes after their page is rotated, anticlockwise around its centre."""
    x, y, w, h = np.array(boxes, np.float64).reshape(-1, 4).T
    corners = np.stack([np.stack([x, x + w, x + w, x]), np.stack([y, y, y + h, y + h])], axis=-1)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    centre = np.array(size) / 2
    rotated = (corners - centre) @ np.array([[cosine, -sine], [sine, cosine]]) + centre
    return np.concatenate([rotated.min(axis=0), np.ptp(rotated, axis=0)], axis=1)
