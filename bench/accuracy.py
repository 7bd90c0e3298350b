"""Measure detection weights on labelled pages: precision, recall and average precision, with 95 % intervals.

The first table is by kind of document: the first part of the file name, up to ``_`` or ``.``. The intervals come from
resampled documents, see `app/training/intervals.py`. The second table shows what a confidence means: the share of
correct detections in each range of confidence. Model cards, such as `models/illustrations.md`, contain both tables.

Class ids of the labels must be those of the weights. ``python -m app evaluate`` matches classes by name.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.detection.detector import Detector
from app.detection.weights import Weights
from app.detection.weights_description import describe
from app.images.pixels import decode_image
from app.training.calibration import LEAST, measure_calibration_error
from app.training.evaluate import EVALUATION_CONFIG
from app.training.intervals import add_intervals, name_document
from app.training.labelled_page import LabelledPage
from app.training.metrics import METRICS, Matches, evaluate_pages, match_page
from bench.labelled_pages import add_weights_argument, list_images, load_true_boxes, open_detector
from bench.tables import describe_machine, print_table

HEADINGS = ("precision", "recall", "AP50", "AP75", "AP50-95")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folders with images/{train,val} and labels/{train,val} in YOLO format"
    parser.add_argument("--pages", type=Path, required=True, nargs="+", metavar="DIR", help=text)
    add_weights_argument(parser)
    parser.add_argument("--split", default="val", help="train or val (default: %(default)s)")
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.25,
        help="lowest confidence that counts for precision and recall (default: %(default)s)",
    )
    parser.add_argument("--size", type=int, help="longer side of the network's input (default: that of the weights)")


def run(arguments: argparse.Namespace) -> None:
    size = describe(Weights.at(arguments.weights.resolve())).choose_size(arguments.size)
    detector = open_detector(arguments.weights, replace(EVALUATION_CONFIG, size=size))
    sets = {
        folder.resolve().name: detect_pages(list_images(folder, arguments.split), detector)
        for folder in arguments.pages
    }
    pages = [page for group in sets.values() for page in group]
    kinds: dict[str, list[LabelledPage]] = defaultdict(list, {"all": pages}, **(sets if len(sets) > 1 else {}))
    for page in pages:
        kinds[re.split(r"[_.]", page.image_name)[0]].append(page)
    print(f"{arguments.weights.name} at confidence {arguments.confidence} and {size} pixels; {describe_machine()}\n")
    rows = [[kind, *_measure(group, detector, arguments.confidence)] for kind, group in kinds.items()]
    print_table(["kind", "pages", "documents", "illustrations", *HEADINGS], rows)
    print()
    print_table(["confidence", "detections", "mean confidence", "share of correct ones"], _list_ranges(pages))
    print(f"\nExpected calibration error, from confidence {LEAST}: {measure_calibration_error(pages) or 0:.3f}")


def detect_pages(paths: Sequence[Path], detector: Detector) -> list[LabelledPage]:
    """Detect on full-size pages and pair the detections, of any confidence, with the true boxes."""
    pages = []
    for path, true in zip(paths, load_true_boxes(paths), strict=True):
        with path.open("rb") as file:
            pixels, _ = decode_image(file, None)
        (found,) = detector.detect([pixels])
        pages.append(LabelledPage(path.name, (pixels.shape[1], pixels.shape[0]), true, found))
    return pages


def _measure(pages: Sequence[LabelledPage], detector: Detector, confidence: float) -> list[str]:
    names = [detector.class_names[class_id] for class_id in sorted(detector.class_names)]
    figures = add_intervals(evaluate_pages(pages, names, confidence), pages).overall
    counts = len(pages), len({name_document(page.image_name) for page in pages}), figures.illustrations
    return [*map(str, counts), *(_format(getattr(figures, name), figures.intervals.get(name)) for name in METRICS)]


def _format(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else "")


def _list_ranges(pages: Sequence[LabelledPage]) -> list[list[str]]:
    matches = Matches.join([match_page(page) for page in pages])
    rows = []
    for low, high in zip((LEAST, *np.arange(1, 10) / 10), (*np.arange(1, 10) / 10, 1.01), strict=True):
        inside = (matches.confidence >= low) & (matches.confidence < high)
        if inside.any():
            mean, right = matches.confidence[inside].mean(), matches.correct[inside, 0].mean()
            rows.append([f"{low:.2f}–{min(high, 1):.2f}", str(inside.sum()), f"{mean:.2f}", f"{right:.2f}"])
    return rows
