"""Labelled prints of blocks: images, pairs with a label, and queries with all their answers.

A folder has ``images`` and two CSV files: ``pairs.csv`` (``a,b,label,…``) and ``queries.csv``
(``image,…,others,ignore``, the last two with names separated by spaces).

Labels: ``same`` block, ``copy`` (cut again after the same design), ``part`` (a region in common), ``alike``,
``different``.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.images.pixels import decode_image

Image = NDArray[np.uint8]

SAME, PART = "same", "part"
LABELS = (SAME, PART, "copy", "alike", "different")


@dataclass(frozen=True)
class LabelledPair:
    """Two images, by index, and their relation."""

    first: int
    second: int
    label: str


@dataclass(frozen=True)
class Query:
    """An image with its answers.

    Attributes:
        image: Index of the image.
        others: Indices of all other prints of its block.
        ignore: Indices of images that are neither right nor wrong, such as copies; they are left out of the ranking.
    """

    image: int
    others: frozenset[int]
    ignore: frozenset[int]


@dataclass(frozen=True)
class LabelledPrints:
    """Images and what is known about them."""

    images: list[Image]
    pairs: list[LabelledPair]
    queries: list[Query]


def load_prints(folder: Path) -> LabelledPrints:
    """Load labelled prints from a folder; exit with a message if it has none."""
    paths = sorted((folder / "images").glob("*.jpg"))
    if not paths or not (folder / "pairs.csv").is_file():
        sys.exit(f"{folder} has no labelled prints: images/*.jpg, pairs.csv and queries.csv are needed.")
    index = {path.name: number for number, path in enumerate(paths)}
    pairs = [LabelledPair(index[row["a"]], index[row["b"]], row["label"]) for row in _read(folder / "pairs.csv")]
    queries = [
        Query(
            index[row["image"]], *(frozenset(index[name] for name in row[key].split()) for key in ("others", "ignore"))
        )
        for row in _read(folder / "queries.csv")
    ]
    return LabelledPrints([_load(path) for path in paths], pairs, queries)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _load(path: Path) -> Image:
    with path.open("rb") as file:
        pixels, _ = decode_image(file, None)
    return pixels
