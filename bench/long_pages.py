"""Measure detection on long pages and large sheets, which are made of labelled pages.

Pages with illustrations are put below each other (scroll), next to each other (panorama), or in rows (sheet). The
command detects on the single pages, and on each large page in one look and in the parts of a job.

The column "found twice" counts the illustrations with more than one box of at least the confidence (IoU above 0.3).
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from app.detection.boxes import compute_iou
from app.detection.detector import Detector, DetectorConfig
from app.jobs.requests import DetectionRequest
from app.pipelines.detection.cutting import PageCutter
from app.pipelines.detection.pages import FetchedPage
from app.training.evaluate import EVALUATION_CONFIG
from app.training.labelled_page import LabelledPage, TrueBoxes
from bench.labelled_pages import (
    FIGURES,
    add_pages_argument,
    add_weights_argument,
    format_figures,
    list_images,
    load_true_boxes,
    open_detector,
)
from bench.tables import describe_machine, print_table

# Columns of a large page; None for as many as it has pages.
KINDS: dict[str, int | None] = {"scroll": 1, "panorama": None, "sheet": 5}
Large = tuple[Image.Image, TrueBoxes]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pages_argument(parser)
    add_weights_argument(parser)
    parser.add_argument("--split", default="val", help="train or val (default: %(default)s)")
    parser.add_argument("--count", type=int, default=20, help="pages of a large page (default: %(default)s)")
    parser.add_argument("--width", type=int, default=900, help="width of a page, in pixels (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    detector = open_detector(arguments.weights, EVALUATION_CONFIG)
    paths = list_images(arguments.pages, arguments.split)
    pages = [
        load_page(path, true, arguments.width)
        for path, true in zip(paths, load_true_boxes(paths), strict=True)
        if len(true)
    ]
    groups = [pages[start : start + arguments.count] for start in range(0, len(pages), arguments.count)]
    count = sum(len(true) for _, true in pages)
    print(f"{len(pages)} pages, {count} illustrations, confidence {DetectorConfig.confidence}; {describe_machine()}\n")
    rows = [["single pages", "one look", *measure(detector, pages, "off")]]
    for kind, columns in KINDS.items():
        large = [arrange(group, columns or len(group)) for group in groups]
        rows.append([kind, "one look", *measure(detector, large, None)])
        rows += [[kind, f"`tiles={tiles}`", *measure(detector, large, tiles)] for tiles in ("off", "auto")]
    print_table(["pages", "detection", "parts", *FIGURES, "found twice"], rows)


def load_page(path: Path, true: TrueBoxes, width: int) -> Large:
    """Load a page with a given width."""
    with Image.open(path) as image:
        factor = width / image.width
        reduced = image.convert("RGB").resize((width, round(image.height * factor)), Image.Resampling.BOX)
    return reduced, TrueBoxes(true.xyxy * factor, true.class_id)


def arrange(pages: list[Large], columns: int) -> Large:
    """Put pages into rows from left to right. All pages of a row begin at the same height."""
    width, height = pages[0][0].width, max(image.height for image, _ in pages)
    rows = math.ceil(len(pages) / columns)
    tops = [row * height for row in range(rows + 1)]
    if columns == 1:  # without gaps
        tops = np.cumsum([0, *(image.height for image, _ in pages)]).tolist()
    sheet = Image.new("RGB", (columns * width, tops[-1]), "white")
    boxes = []
    for number, (image, true) in enumerate(pages):
        left, top = number % columns * width, tops[number // columns]
        sheet.paste(image, (left, top))
        boxes.append(true.xyxy + np.array([left, top, left, top]))
    return sheet, TrueBoxes(np.concatenate(boxes), np.concatenate([true.class_id for _, true in pages]))


def measure(detector: Detector, pages: list[Large], tiles: str | None) -> list[object]:
    """Return the cells of a row: number of parts, figures, illustrations that were found twice.

    Args:
        detector: Detector.
        pages: Pages with their true boxes.
        tiles: Field ``tiles`` of the request; None to detect in one look.
    """
    labelled, parts, twice = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        cutter = PageCutter(
            DetectionRequest("https://library.example/manifest.json", tiles=tiles or ""), detector.config.size
        )
        for number, (image, true) in enumerate(pages, 1):
            image.save(Path(folder, "page.jpg"), quality=90)
            page = cutter.load(Path(folder), FetchedPage(number, "", "", "page.jpg", *image.size))
            looks = [np.asarray(image)] if tiles is None else [part.pixels for part in page.parts]
            found = detector.detect(looks)
            merged = found[0] if tiles is None else page.merge(found, detector.config.iou)
            if merged is None:
                continue
            size = looks[0].shape[1::-1] if tiles is None else page.image.size
            boxes = merged.scaled((size[0], size[1]), image.size)
            labelled.append(LabelledPage("", image.size, true, boxes))
            sure = boxes.xyxy[boxes.confidence >= DetectorConfig.confidence]
            twice += int(np.count_nonzero((compute_iou(true.xyxy, sure) > 0.3).sum(axis=1) > 1))
            parts += len(looks)
    return [parts, *format_figures(labelled, DetectorConfig.confidence), twice]
