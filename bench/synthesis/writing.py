"""Write synthetic pages that are made from the pages in ``images/train`` and ``labels/train``.

The output folder has the same two subfolders. A page depends only on its number, the seed and the training pages.

``--scripts`` writes pages in other scripts instead, from pages and pictures of ``images/val``: weights are measured on
them with ``python -m bench accuracy --split train``.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from bench.labelled_pages import list_images
from bench.synthesis.composition import set_page
from bench.synthesis.scripts import SCRIPTS
from bench.synthesis.setting import Setting
from bench.synthesis.sheets import Cut, Sheet, cut_illustrations, format_labels, load_sheet
from bench.synthesis.wear import age

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
    sheets, cuts = _prepare(pages, "train", out)
    kinds = sorted({sheet.kind for sheet in sheets})
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        kind = kinds[rng.integers(len(kinds))]
        chosen = [sheet for sheet in sheets if sheet.kind == kind]
        sheet, back = chosen[rng.integers(len(chosen))], sheets[rng.integers(len(sheets))]
        page = set_page(sheet, cuts, back.pixels, rng)
        write(page, out, f"synthetic_{number:05}", int(rng.integers(55, 95)))


def write_scripts(pages: Sequence[Path], out: Path, count: int, seed: int) -> None:
    """Write pages in other scripts, named after the script.

    Args:
        pages: Folders of the validation pages. Those without illustrations are written over.
        out: Output folder.
        count: Number of pages of each script.
        seed: Seed of the random generator.
    """
    sheets, cuts = _prepare(pages, "val", out)
    empty = [sheet for sheet in sheets if not len(sheet.boxes)]
    for number, script in product(range(count), SCRIPTS):
        rng = np.random.default_rng([seed, number])
        s = Setting(empty[rng.integers(len(empty))].pixels.copy(), [], rng)
        script(s, cuts)
        page = age(s.page, sheets[rng.integers(len(sheets))].pixels, rng)
        name = script.__name__.removeprefix("set_")
        write(Sheet(name, page, np.array(s.boxes, float).reshape(-1, 4)), out, f"{name}.{number:05}", 85)


def _prepare(pages: Sequence[Path], split: str, out: Path) -> tuple[list[Sheet], list[Cut]]:
    """Create the output folders; return the pages of a split and the illustrations that are cut out of them."""
    for part in ("images", "labels"):
        (out / part / "train").mkdir(parents=True, exist_ok=True)
    sheets = [load_sheet(path, LONGER) for folder in pages for path in list_images(folder, split)]
    return sheets, [cut for sheet in sheets for cut in cut_illustrations(sheet)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folders with images/train and labels/train in YOLO format"
    parser.add_argument("--pages", type=Path, required=True, nargs="+", metavar="DIR", help=text)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--count", type=int, default=3000, help="number of pages (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first page (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random generator (default: %(default)s)")
    parser.add_argument("--scripts", action="store_true", help="pages in other scripts, --count of each")


def run(arguments: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    if arguments.scripts:
        write_scripts(arguments.pages, arguments.out, arguments.count, arguments.seed)
    else:
        synthesise(arguments.pages, arguments.out, arguments.count, arguments.seed, arguments.first)
