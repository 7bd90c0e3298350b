"""Write synthetic pages that are made from the pages in ``images/train`` and ``labels/train``.

The output folder has the same two subfolders. A page depends only on its number, the seed and the training pages.

``--writing-systems`` writes pages in other writing systems instead, to ``images/val`` and from pages of ``images/val``.
Weights are measured on them with ``python -m bench accuracy``.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from bench.labelled_pages import list_images
from bench.synthesis.composition import finish_page, set_page
from bench.synthesis.motifs import draw_motifs
from bench.synthesis.setting import Setting
from bench.synthesis.sheets import Cut, Sheet, cut_illustrations, format_labels, load_sheet
from bench.synthesis.writing_systems import WRITING_SYSTEMS

LONGER = 800  # longer side in pixels; the input of the network has 640


def write(sheet: Sheet, folder: Path, split: str, stem: str, quality: int) -> None:
    """Write a page of a split as JPEG, and its labels in YOLO format."""
    width, height = sheet.pixels.shape[1], sheet.pixels.shape[0]
    boxes = sheet.boxes / np.array([width, height] * 2)
    labels = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    pixels = np.ascontiguousarray(sheet.pixels[..., ::-1])
    images, texts = (folder / part / split for part in ("images", "labels"))
    for each in (images, texts):
        each.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(images / f"{stem}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    (texts / f"{stem}.txt").write_text(format_labels(labels))


def synthesise(
    pages: Sequence[Path], out: Path, count: int, seed: int, first: int = 0, pictures: Sequence[Path] = ()
) -> None:
    """Write synthetic pages; those that exist already are kept.

    The same number, seed, training pages and pictures give the same bytes.

    Args:
        pages: Folders of the training pages.
        out: Output folder.
        count: Number of pages to write.
        seed: Seed of the random generator.
        first: Number of the first page.
        pictures: Folders of pictures that are drawn on the pages as illustrations, see ``motifs``.
    """
    names = {number: f"synthetic_{number:05}" for number in range(first, first + count)}
    missing = [number for number, name in names.items() if not (out / "labels" / "train" / f"{name}.txt").exists()]
    if not missing:
        return
    sheets, cuts = _load_pages(pages, "train")
    cuts += draw_motifs(pictures, seed)
    kinds = sorted({sheet.kind for sheet in sheets})
    for number in missing:
        rng = np.random.default_rng([seed, number])
        kind = kinds[rng.integers(len(kinds))]
        chosen = [sheet for sheet in sheets if sheet.kind == kind]
        sheet, back = chosen[rng.integers(len(chosen))], sheets[rng.integers(len(sheets))]
        page = set_page(sheet, cuts, back.pixels, rng)
        write(page, out, "train", names[number], int(rng.integers(55, 95)))


def write_systems(pages: Sequence[Path], out: Path, count: int, seed: int) -> None:
    """Write pages in other writing systems, named after the system, as validation pages.

    They are drawn like those for training, but with pictures of the validation pages. Their figures are therefore
    better than those of real pages.

    Args:
        pages: Folders of the validation pages. Those without illustrations are written over.
        out: Output folder.
        count: Number of pages of each system.
        seed: Seed of the random generator.
    """
    sheets, cuts = _load_pages(pages, "val")
    empty = [sheet for sheet in sheets if not len(sheet.boxes)]
    if not empty:
        sys.exit("All pages in images/val have illustrations: add pages without any.")
    for number, set_system in product(range(count), WRITING_SYSTEMS):
        rng = np.random.default_rng([seed, number])
        s = Setting(empty[rng.integers(len(empty))].pixels.astype(np.float32), [], rng)
        set_system(s, cuts)
        # Each page is a document of its own: its file name ends with the number of its only page.
        name = f"{set_system.__name__.removeprefix('set_')}.{number:05}.1"
        write(finish_page(s, name, sheets[rng.integers(len(sheets))].pixels), out, "val", name, 85)


def _load_pages(pages: Sequence[Path], split: str) -> tuple[list[Sheet], list[Cut]]:
    """Return the pages of a split, and the illustrations that are cut out of them."""
    sheets = [load_sheet(path, LONGER) for folder in pages for path in list_images(folder, split)]
    return sheets, [cut for sheet in sheets for cut in cut_illustrations(sheet)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folders with images/train and labels/train in YOLO format"
    parser.add_argument("--pages", type=Path, required=True, nargs="+", metavar="DIR", help=text)
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], metavar="DIR", help="folders of clip art")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--count", type=int, default=3000, help="number of pages (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first training page (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random generator (default: %(default)s)")
    parser.add_argument("--writing-systems", action="store_true", help="COUNT pages in each of four writing systems")


def run(arguments: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    if arguments.writing_systems:
        write_systems(arguments.pages, arguments.out, arguments.count, arguments.seed)
    else:
        synthesise(arguments.pages, arguments.out, arguments.count, arguments.seed, arguments.first, arguments.pictures)
