"""Folders of pages: their images, the true boxes on them, and the detector that is evaluated on them.

A folder of pages has ``images/{train,val}`` and ``labels/{train,val}`` in YOLO format. A document has ``images`` and
``illustrations.json``: a list of ``{"image": name, "illustrations_xywh": boxes in pixels}``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.config import ROOT
from app.detection.detector import Detector, DetectorConfig
from app.detection.loading import load_detector
from app.detection.weights import ModelStore, isolate_ultralytics
from app.training.labelled_page import LabelledPage, TrueBoxes, load_labels
from app.training.metrics import evaluate_pages

WEIGHTS = ROOT / "models" / "illustrations.pt"
FIGURES = ("precision", "recall", "AP50", "AP50-95")


def add_pages_argument(parser: argparse.ArgumentParser) -> None:
    text = "folder with images/{train,val} and labels/{train,val} in YOLO format"
    parser.add_argument("--pages", type=Path, required=True, metavar="DIR", help=text)


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="detection weights (default: the project's)")


def list_images(folder: Path, *splits: str) -> list[Path]:
    """Return the JPEG images of some splits, else of ``images``, else of the folder itself, ordered by name.

    Ends the program with a sentence when there is none.
    """
    places = [folder.resolve() / "images" / split for split in splits]
    for group in (places, [folder.resolve() / "images"], [folder.resolve()]):
        if paths := [path for place in group for path in sorted(place.glob("*.jpg"))]:
            return paths
    sys.exit(f"{folder} has no JPEG images in {' or '.join(f'images/{split}' for split in splits)}, images or itself.")


def load_true_boxes(images: Sequence[Path]) -> list[TrueBoxes]:
    """Return the true boxes of each image of a folder, in its pixels.

    Ends the program with a sentence when the folder has no labels at all.
    """
    folder = next((parent for parent in images[0].parents if parent.name == "images"), images[0])
    listed, labels = folder.with_name("illustrations.json"), folder.with_name("labels")
    if listed.exists():
        boxes = {page["image"]: page["illustrations_xywh"] for page in json.loads(listed.read_text())}
        corners = [to_corners(boxes[image.name]) for image in images]
        return [TrueBoxes(each, np.zeros(len(each), dtype=np.int64)) for each in corners]
    if not labels.is_dir():
        sys.exit(f"{folder.parent} has neither labels nor illustrations.json, which say where illustrations are.")
    files = [labels / image.relative_to(folder).with_suffix(".txt") for image in images]
    return [load_labels(file, read_size(image)) for file, image in zip(files, images, strict=True)]


def to_corners(boxes: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Turn ``x y w h`` into ``(n, 4)`` xyxy."""
    xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def read_size(image: Path) -> tuple[int, int]:
    """Return the (width, height) of an image file."""
    with Image.open(image) as opened:
        return opened.size


def open_detector(weights: Path, config: DetectorConfig) -> Detector:
    """Load weights of any folder."""
    isolate_ultralytics()
    path = weights.resolve()
    return load_detector(ModelStore(path.parent, path.name).find(), config)


def format_figures(pages: Sequence[LabelledPage], confidence: float) -> list[str]:
    """Return ``FIGURES`` over all pages; 0 where a figure is undefined."""
    overall = evaluate_pages(pages, ["illustration"], confidence).overall
    rates = [f"{figure or 0:.2f}" for figure in (overall.precision, overall.recall)]
    return rates + [f"{figure or 0:.3f}" for figure in (overall.ap50, overall.ap50_95)]
