"""Draw the pictures of docs/numbers.md from the sample document and the default weights, and that of their model card.

Writes ``box.png``, ``confidence.png``, ``coverage.png`` and ``rule.png``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from app.config import ROOT
from app.detection.boxes import Detections
from app.detection.detector import DetectorConfig
from app.images.overlays import FOUND, DrawnBox, Layer, draw_layer
from bench.labelled_pages import add_weights_argument, list_images, open_detector
from bench.rule_picture import draw_rule

INK, GREY, LIGHT = (30, 30, 30), (110, 110, 110), (225, 225, 225)
WIDTH, MARGIN = 1000, 90
# Well below the default confidence, so that the picture shows the detections that the default drops.
LOWEST = 0.02
REQUESTED = 800  # height in pixels of the requested images
DETECTED, EMPTY, FAILED = (224, 42, 42), (90, 110, 130), (150, 150, 150)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images", help="(default: docs/images)")
    parser.add_argument("--pages", type=Path, default=ROOT / "iiif" / "sample", help="(default: the sample document)")
    add_weights_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Detect on the pages, and draw the pictures."""
    detector = open_detector(arguments.weights, DetectorConfig(confidence=LOWEST))
    paths = list_images(arguments.pages)
    pages = [Image.open(path).convert("RGB") for path in paths]
    # At the size that the service requests by default.
    small = [page.resize((round(page.width * REQUESTED / max(page.size)), REQUESTED)) for page in pages]
    found = [
        each.scaled(reduced.size, page.size)
        for each, reduced, page in zip(detector.detect([np.asarray(page) for page in small]), small, pages, strict=True)
    ]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    page, boxes, name = next(each for each in zip(pages[1:], found[1:], paths[1:], strict=True) if len(each[1]))
    for file, picture in {
        "box": draw_box(page, boxes, name.name, paths.index(name) + 1),
        "confidence": draw_confidence(pages, found),
        "coverage": draw_coverage(pages, found),
        "rule": draw_rule(),
    }.items():
        path = arguments.folder / f"{file}.png"
        picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"Written: {path}")


def draw_box(page: Image.Image, found: Detections, name: str, canvas: int) -> Image.Image:
    """Draw the best detection of a page with its ``x y w h``, and the lines of the annotation file."""
    left, top, right, bottom = (round(float(value)) for value in found.xyxy[found.confidence.argmax()])
    factor = (WIDTH - 2 * MARGIN - 380) / page.width
    small = page.resize((round(page.width * factor), round(page.height * factor)), Image.Resampling.LANCZOS)
    x1, y1, x2, y2 = (value * factor for value in (left, top, right, bottom))
    sheet = Image.new("RGB", (WIDTH, small.height + 2 * MARGIN - 30), "white")
    draw_layer(small, Layer([DrawnBox((x1, y1, x2, y2))], FOUND, 4))
    sheet.paste(small, (MARGIN, MARGIN - 30))
    draw = ImageDraw.Draw(sheet)
    x0, y0 = MARGIN, MARGIN - 30
    _measure(draw, (x0, y0 + y1), (x0 + x1, y0 + y1), f"x = {left}")
    _measure(draw, (x0 + x1 + 30, y0), (x0 + x1 + 30, y0 + y1), f"y = {top}")
    _measure(draw, (x0 + x1, y0 + y2 + 14), (x0 + x2, y0 + y2 + 14), f"w = {right - left}")
    _measure(draw, (x0 + x2 + 14, y0 + y1), (x0 + x2 + 14, y0 + y2), f"h = {bottom - top}")
    _measure(draw, (x0, y0 + small.height + 16), (x0 + small.width, y0 + small.height + 16), f"{page.width} pixels")
    column = x0 + small.width + 60
    lines = (
        ("The full-size image", f"{page.width} x {page.height} pixels"),
        ("The origin (0, 0)", "the upper left corner"),
        ("In the annotation file", f"{canvas} {name}\n{left} {top} {right - left} {bottom - top}"),
        ("In JSON", f'"xywh": [{left}, {top}, {right - left}, {bottom - top}]'),
    )
    for number, (title, text) in enumerate(lines):
        draw.text((column, y0 + 20 + 130 * number), title, fill=GREY, font=_font(20))
        draw.multiline_text((column, y0 + 48 + 130 * number), text, fill=INK, font=_font(24), spacing=8)
    return sheet


def draw_confidence(pages: Sequence[Image.Image], found: Sequence[Detections]) -> Image.Image:
    """Draw every detection above a low confidence: red those that the default keeps, grey the others."""
    kept = DetectorConfig().confidence
    drawn = []
    for page, boxes in zip(pages, found, strict=True):
        factor = (WIDTH - 20 * (len(pages) + 1)) / len(pages) / page.width
        small = page.resize((round(page.width * factor), round(page.height * factor)), Image.Resampling.LANCZOS)
        layers: dict[bool, list[DrawnBox]] = {False: [], True: []}
        for xyxy, confidence in zip(boxes.xyxy * factor, boxes.confidence, strict=True):
            x1, y1, x2, y2 = (float(value) for value in xyxy)
            layers[bool(confidence >= kept)].append(DrawnBox((x1, y1, x2, y2), f"{confidence:.2f}"))
        draw_layer(small, Layer(layers[False], GREY, 2))
        draw_layer(small, Layer(layers[True], FOUND, 3))
        drawn.append(small)
    caption = f"red: confidence {kept} or more, kept by default    grey: {LOWEST} to {kept}, dropped"
    return _place(drawn, [caption])


def draw_coverage(pages: Sequence[Image.Image], found: Sequence[Detections]) -> Image.Image:
    """Draw one cell per canvas, with its status, and a canvas that could not be fetched."""
    kept = DetectorConfig().confidence
    cells = []
    for number, (page, boxes) in enumerate(zip(pages, found, strict=True), start=1):
        count = int((boxes.confidence >= kept).sum())
        text, colour = (f"detected: {count}", DETECTED) if count else ("empty", EMPTY)
        cells.append(_draw_cell(page, number, text, colour, len(pages) + 1))
    blank = Image.new("RGB", pages[0].size, LIGHT)
    cells.append(_draw_cell(blank, len(pages) + 1, "failed", FAILED, len(pages) + 1))
    reason = f"canvas {len(pages) + 1} failed: the library answered 404 for its image"
    return _place(cells, [reason])


def _draw_cell(page: Image.Image, number: int, text: str, colour: tuple[int, int, int], cells: int) -> Image.Image:
    width = (WIDTH - 20 * (cells + 1)) // cells
    height = round(page.height * width / page.width)
    cell = Image.new("RGB", (width, height + 70), "white")
    cell.paste(page.resize((width, height), Image.Resampling.LANCZOS))
    draw = ImageDraw.Draw(cell)
    draw.rectangle((0, height, width, height + 36), fill=colour)
    draw.text((width / 2, height + 18), text, fill="white", font=_font(20), anchor="mm")
    draw.text((width / 2, height + 54), f"canvas {number}", fill=INK, font=_font(18), anchor="mm")
    return cell


def _place(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Return pictures in a row, with lines of text below."""
    height = max(picture.height for picture in pictures)
    sheet = Image.new("RGB", (WIDTH, height + 40 + 34 * len(captions)), "white")
    left = 20
    for picture in pictures:
        sheet.paste(picture, (left, 20))
        left += picture.width + 20
    draw = ImageDraw.Draw(sheet)
    for number, caption in enumerate(captions):
        draw.text((20, height + 34 + 34 * number), caption, fill=INK, font=_font(20))
    return sheet


def _measure(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    """Draw a line between two points with a mark at each end and its length."""
    (x1, y1), (x2, y2) = start, end
    draw.line((start, end), fill=INK, width=3)
    across = (0, 8) if y1 == y2 else (8, 0)
    for x, y in (start, end):
        draw.line((x - across[0], y - across[1], x + across[0], y + across[1]), fill=INK, width=3)
    font = _font(20)
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    place, anchor = ((middle[0], middle[1] + 20), "mm") if y1 == y2 else ((middle[0] + 12, middle[1]), "lm")
    box = draw.textbbox(place, text, font=font, anchor=anchor)
    draw.rectangle((box[0] - 4, box[1] - 2, box[2] + 4, box[3] + 2), fill="white")
    draw.text(place, text, fill=INK, font=font, anchor=anchor)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
