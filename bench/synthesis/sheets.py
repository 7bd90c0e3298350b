"""Load the labelled pages that synthetic pages are made from, and cut out their illustrations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.label_faults import find_faults
from bench.synthesis.ink import Array, extract_ink, resize

# Limits for illustrations that are cut out.
LEAST = 0.015  # Least length of the shorter side, as a share of the page's height.
FLATTEST = 12  # Highest ratio of width to height.


@dataclass(frozen=True, eq=False)
class Sheet:
    """A labelled page.

    Attributes:
        name: File name without suffix; the part up to the first ``_`` is the kind of document.
        pixels: ``(h, w, 3)`` uint8 RGB.
        boxes: Boxes of the illustrations, ``(n, 4)`` xyxy in pixels.
    """

    name: str
    pixels: Array
    boxes: np.ndarray

    @property
    def kind(self) -> str:
        """Kind of document."""
        return self.name.split("_")[0]


@dataclass(frozen=True, eq=False)
class Cut:
    """An illustration that was cut out of a page.

    Attributes:
        kind: Kind of document.
        ink: Ink of the illustration.
        share: Width of the illustration, as a share of the page's width.
    """

    kind: str
    ink: Array
    share: float


def load_labels(page: Path) -> np.ndarray:
    """Return the labels of an image file ``images/<split>/<stem>.jpg``, without those that contradict the definition.

    Returns:
        ``(n, 4)`` centres and sizes, relative to the size of the page.
    """
    path = page.parents[2] / "labels" / page.parent.name / f"{page.stem}.txt"
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()] if path.exists() else []
    boxes = np.array(rows, dtype=np.float64).reshape(-1, 5)[:, 1:]
    return boxes[~find_faults(page.name, boxes)]


def format_labels(boxes: np.ndarray) -> str:
    """Return ``(n, 4)`` relative centres and sizes as the content of a YOLO label file, with class 0."""
    return "".join(f"0 {' '.join(f'{value:.5f}' for value in box)}\n" for box in boxes)


def load_sheet(page: Path, longer: int) -> Sheet:
    """Load a page and its labels, resized so that the longer side has ``longer`` pixels."""
    pixels: Array | None = cv2.imread(str(page))
    assert pixels is not None, page
    factor = longer / max(pixels.shape[:2])
    pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)[..., ::-1]
    labels, size = load_labels(page), np.array(pixels.shape[1::-1] * 2)
    corners = np.concatenate([labels[:, :2] - labels[:, 2:] / 2, labels[:, :2] + labels[:, 2:] / 2], axis=1)
    return Sheet(page.stem, np.ascontiguousarray(pixels), np.clip(corners * size, 0, size))


def cut_illustrations(sheet: Sheet) -> list[Cut]:
    """Cut out the illustrations of a page that can be placed on other pages.

    Leaves out boxes as small as an initial, boxes that cover most of the page, and rules: on another page, these would
    not be recognisable as illustrations.
    """
    pixels = sheet.pixels.astype(np.float32)
    height, width = pixels.shape[:2]
    paper = np.percentile(pixels.reshape(-1, 3), 85, axis=0)
    cuts = []
    for x1, y1, x2, y2 in sheet.boxes.round().astype(int):
        high, wide = y2 - y1, x2 - x1
        small = min(high, wide) < LEAST * height or max(high, wide) < 2 * LEAST * height
        if not small and high * wide <= 0.6 * width * height and wide <= FLATTEST * high:
            cuts.append(Cut(sheet.kind, extract_ink(pixels[y1:y2, x1:x2], paper), wide / width))
    return cuts


def choose_cut(rng: np.random.Generator, cuts: Sequence[Cut]) -> tuple[Array, float]:
    """Choose an illustration at random, each kind of document with the same probability.

    The illustration may be mirrored, stretched, lightened or darkened.

    Returns:
        Its ink, and its original width as a share of its page's width.
    """
    kinds = sorted({cut.kind for cut in cuts})
    kind = kinds[rng.integers(len(kinds))]
    chosen = [cut for cut in cuts if cut.kind == kind]
    cut = chosen[rng.integers(len(chosen))]
    ink = cut.ink[:, ::-1] if rng.random() < 0.5 else cut.ink
    if rng.random() < 0.3:
        ink = resize(ink, max(8, round(ink.shape[1] * rng.uniform(0.75, 1.3))), ink.shape[0])
    return np.power(ink, rng.uniform(0.6, 1.2)), cut.share
