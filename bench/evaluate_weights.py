"""Evaluate detection weights on labelled pages: precision, recall and average precision by kind of document.

The kind is the first part of the file name, up to ``_``, ``-`` or ``.``. The command prints the table that the model
cards contain, such as `models/illustrations.md`.
"""

import argparse
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from app.detection.detector import Detector
from app.detection.weights import Weights
from app.detection.weights_description import DEFAULT_SIZE, describe
from app.images.pixels import decode_image
from app.training.evaluate import EVALUATION_CONFIG
from app.training.labelled_page import LabelledPage
from bench.labelled_pages import (
    FIGURES,
    add_pages_argument,
    add_weights_argument,
    format_figures,
    list_images,
    load_true_boxes,
    open_detector,
)
from bench.tables import print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pages_argument(parser)
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
    size = arguments.size or describe(Weights.at(arguments.weights.resolve())).input_size or DEFAULT_SIZE
    detector = open_detector(arguments.weights, replace(EVALUATION_CONFIG, size=size))
    pages = detect_pages(list_images(arguments.pages, arguments.split), detector)
    kinds: dict[str, list[LabelledPage]] = defaultdict(list, {"all": pages})
    for page in pages:
        kinds[re.split(r"[_.-]", page.image_name)[0]].append(page)
    print(f"At confidence {arguments.confidence} and {size} pixels\n")
    rows = [
        [kind, len(group), sum(len(page.true) for page in group), *format_figures(group, arguments.confidence)]
        for kind, group in kinds.items()
    ]
    print_table(["pages", "count", "illustrations", *FIGURES], rows)


def detect_pages(paths: list[Path], detector: Detector) -> list[LabelledPage]:
    """Detect on full-size pages and pair the detections, of any confidence, with the true boxes."""
    pages = []
    for path, true in zip(paths, load_true_boxes(paths), strict=True):
        with path.open("rb") as file:
            pixels, _ = decode_image(file, None)
        (found,) = detector.detect([pixels])
        pages.append(LabelledPage(path.name, (pixels.shape[1], pixels.shape[0]), true, found))
    return pages
