"""The pages of training documents: what synthetic pages are set on, and the illustrations that are cut from them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.synthesis.ink import Array, lift

# On these manuscripts the ground truth counts the fillers of lines among the illustrations; no other document has that.
FILLED = "cremma"
LOWEST = 0.03
LEAST = 0.015  # of the page's height
FLATTEST = 12


@dataclass(frozen=True, eq=False)
class Sheet:
    """A labelled page.

    Attributes:
        name: Its file's stem; the first word is the kind of document.
        pixels: ``(h, w, 3)`` float32 RGB in [0, 255].
        boxes: The illustrations, ``(n, 4)`` xyxy in pixels.
    """

    name: str
    pixels: Array
    boxes: np.ndarray

    @property
    def kind(self) -> str:
        return self.name.split("_")[0]


@dataclass(frozen=True, eq=False)
class Cut:
    """The ink of an illustration, and the share of its page's width that it had."""

    kind: str
    ink: Array
    share: float


def load_labels(page: Path) -> np.ndarray:
    """Return the illustrations of ``images/<split>/<stem>.jpg``: ``(n, 4)`` centre and size, relative to the page.

    Fillers of lines are left out: see ``FILLED``.
    """
    path = page.parents[2] / "labels" / page.parent.name / f"{page.stem}.txt"
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()] if path.exists() else []
    boxes = np.array(rows, dtype=np.float64).reshape(-1, 5)[:, 1:]
    return boxes[boxes[:, 3] >= LOWEST] if page.name.startswith(FILLED) else boxes


def format_labels(boxes: np.ndarray) -> str:
    """Return ``(n, 4)`` relative centres and sizes as the rows of a YOLO label file, class 0."""
    return "".join(f"0 {' '.join(f'{value:.5f}' for value in box)}\n" for box in boxes)


def load_sheet(page: Path, longer: int) -> Sheet:
    """Return a page, its longer side of so many pixels, with its labels."""
    pixels: Array | None = cv2.imread(str(page))
    assert pixels is not None, page
    factor = longer / max(pixels.shape[:2])
    pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)[..., ::-1]
    labels, size = load_labels(page), np.array(pixels.shape[1::-1] * 2)
    corners = np.concatenate([labels[:, :2] - labels[:, 2:] / 2, labels[:, :2] + labels[:, 2:] / 2], axis=1)
    return Sheet(page.stem, pixels.astype(np.float32), np.clip(corners * size, 0, size))


def cut_illustrations(sheet: Sheet) -> list[Cut]:
    """Return the ink of the illustrations of a page that can stand elsewhere.

    Not of one as small as an initial, nor of one as large as the page, nor of rules: elsewhere they are none.
    """
    height, width = sheet.pixels.shape[:2]
    paper = np.percentile(sheet.pixels.reshape(-1, 3), 85, axis=0)
    cuts = []
    for x1, y1, x2, y2 in sheet.boxes.round().astype(int):
        high, wide = y2 - y1, x2 - x1
        small = min(high, wide) < LEAST * height or max(high, wide) < 2 * LEAST * height
        if not small and high * wide <= 0.6 * width * height and wide <= FLATTEST * high:
            cuts.append(Cut(sheet.kind, lift(sheet.pixels[y1:y2, x1:x2], paper), wide / width))
    return cuts
