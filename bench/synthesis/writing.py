"""Write synthetic pages that are made from the pages in ``images/train`` and ``labels/train``.

The output folder has the same two subfolders. A page depends only on its number, the seed and the training pages.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from bench.labelled_pages import list_images
from bench.synthesis.composition import set_page
from bench.synthesis.sheets import Sheet, cut_illustrations, format_labels, load_sheet

LONGER = 800  # longer side in pixels; the input of the network has 640


def write(sheet: Sheet, folder: Path, stem: str, quality: int) -> None:
    """Write a page as JPEG, and its labels in YOLO format."""
    width, height = sheet.pixels.shape[1], sheet.pixels.shape[0]
    boxes = sheet.boxes / np.array([width, height] * 2)
    labels = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    pixels = np.ascontiguousarray(sheet.pixels[..., ::-1]).astype(np.uint8)
    cv2.imwrite(str(folder / "images" / "train" / f"{stem}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    (folder / "labels" / "train" / f"{stem}.txt").write_text(format_labels(labels))


def synthesise(pages: Sequence[Path], out: Path, count: int, seed: int, first: int = 0) -> None:
    """Write synthetic pages. The same number, seed and training pages give the same bytes.

    Args:
        pages: Folders of the training pages.
        out: Output folder.
        count: Number of pages to write.
        seed: Seed of the random generator.
        first: Number of the first page.
    """
    for part in ("images", "labels"):
        (out / part / "train").mkdir(parents=True, exist_ok=True)
    sheets = [load_sheet(path, LONGER) for folder in pages for path in list_images(folder, "train")]
    cuts = [cut for sheet in sheets for cut in cut_illustrations(sheet)]
    kinds = sorted({sheet.kind for sheet in sheets})
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        kind = kinds[rng.integers(len(kinds))]
        chosen = [sheet for sheet in sheets if sheet.kind == kind]
        sheet, back = chosen[rng.integers(len(chosen))], sheets[rng.integers(len(sheets))]
        page = set_page(sheet, cuts, back.pixels, rng)
        write(page, out, f"synthetic_{number:05}", int(rng.integers(55, 95)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folders with images/train and labels/train in YOLO format"
    parser.add_argument("--pages", type=Path, required=True, nargs="+", metavar="DIR", help=text)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--count", type=int, default=3000, help="number of pages (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first page (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random generator (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    synthesise(arguments.pages, arguments.out, arguments.count, arguments.seed, arguments.first)
