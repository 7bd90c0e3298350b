"""Load labelled pages and a detector, and format the results of its evaluation.

Two layouts of folders are supported:

- a data set has ``images/{train,val}`` and ``labels/{train,val}`` in YOLO format;
- a document has ``images`` and ``illustrations.json``, a list of objects
  ``{"image": name, "illustrations_xywh": boxes in pixels}``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.config import ROOT
from app.detection.detector import Detector, DetectorConfig
from app.detection.loading import load_detector
from app.detection.weights import Weights, isolate_ultralytics
from app.images.pixels import read_size as read_image_size
from app.training.labelled_page import LabelledPage, TrueBoxes, load_labels
from app.training.metrics import evaluate_pages
from bench.label_faults import find_faults, is_excluded

WEIGHTS = ROOT / "models" / "illustrations.pt"
FIGURES = ("precision", "recall", "AP50", "AP50-95")


def add_pages_argument(parser: argparse.ArgumentParser, required: bool = True) -> None:
    text = "folder with images/{train,val} and labels/{train,val} in YOLO format"
    parser.add_argument("--pages", type=Path, required=required, metavar="DIR", help=text)


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="detection weights (default: the project's)")


def list_images(folder: Path, *splits: str) -> list[Path]:
    """Return the JPEG images of a folder, ordered by name; exit with a message if there are none.

    Pages whose labels are wrong are left out, see :mod:`bench.label_faults`.
    The images are those of the first place that has any: ``images/<split>`` for the given splits, ``images``, or the
    folder itself.
    """
    parts = [folder.resolve() / "images" / split for split in splits]
    for group in (parts, [folder.resolve() / "images"], [folder.resolve()]):
        if paths := [path for part in group for path in sorted(part.glob("*.jpg"))]:
            return [path for path in paths if not is_excluded(path.name)]
    searched = ", ".join([*(f"images/{split}" for split in splits), "images"])
    sys.exit(f"{folder} has no JPEG images; searched {searched} and the folder itself.")


def load_true_boxes(images: Sequence[Path]) -> list[TrueBoxes]:
    """Return the true boxes of each image, in pixels of the image; exit with a message if the folder has no labels.

    Labels that contradict the definition are left out, see :mod:`bench.label_faults`.
    """
    folder = next((parent for parent in images[0].parents if parent.name == "images"), images[0])
    listed, labels = folder.with_name("illustrations.json"), folder.with_name("labels")
    if listed.exists():
        boxes = {page["image"]: page["illustrations_xywh"] for page in json.loads(listed.read_text())}
        corners = [to_corners(boxes[image.name]) for image in images]
        return [TrueBoxes(each, np.zeros(len(each), dtype=np.int64)) for each in corners]
    if not labels.is_dir():
        sys.exit(f"{folder.parent} has neither labels nor illustrations.json; one of them must hold the true boxes.")
    files = [labels / image.relative_to(folder).with_suffix(".txt") for image in images]
    return [_load_true(image, file) for image, file in zip(images, files, strict=True)]


def _load_true(image: Path, file: Path) -> TrueBoxes:
    size = read_size(image)
    true = load_labels(file, size)
    corners = true.xyxy / np.array([*size, *size])
    centred = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
    right = ~find_faults(image.name, centred)
    return TrueBoxes(true.xyxy[right], true.class_id[right])


def to_corners(boxes: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Convert boxes from ``x y w h`` to an ``(n, 4)`` array of xyxy."""
    xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def read_size(image: Path) -> tuple[int, int]:
    """Return the (width, height) of an image file."""
    with image.open("rb") as file:
        return read_image_size(file)


def open_detector(weights: Path, config: DetectorConfig) -> Detector:
    """Load detection weights from any path."""
    isolate_ultralytics()
    return load_detector(Weights.at(weights), config)


def format_figures(pages: Sequence[LabelledPage], confidence: float) -> list[str]:
    """Return the values of ``FIGURES`` over all pages, as text; an undefined value is shown as 0."""
    overall = evaluate_pages(pages, ["illustration"], confidence).overall
    rates = [f"{figure or 0:.2f}" for figure in (overall.precision, overall.recall)]
    return rates + [f"{figure or 0:.3f}" for figure in (overall.ap50, overall.ap50_95)]
