"""Compare the speed of similarity with that of the original extractorAPI and with a floor.

``extraction`` embeds images. Every way reads the same JPEG files, at full size or at the size that a job requests from
an image service. The floor is the forward pass alone, with torch in float32, on prepared tensors. The original decodes
with OpenCV at full size, stretches the BGR values from 0 to 255 to 224 x 224, and runs the whole ResNet-50 of
torchvision in float32. The weights are random, which does not change the speed.

``matching`` finds the 20 best matches of each image in the other document, in both directions. The floor is the matrix
product alone. The original computes the cosine similarity as scikit-learn does, then sorts each row. This project reads
embeddings in half precision from files, as from its cache. The other ways have float32 in memory unless their name says
otherwise. faiss is one of the ways if faiss-cpu is installed.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torchvision.models.feature_extraction import create_feature_extractor

from app.config import ROOT
from app.detection.precision import Precision
from app.images.pixels import decode_image, decode_picture
from app.similarity.backbones import find_backbone
from app.similarity.embedder import Embedder, EmbedderConfig, load_embedder
from app.similarity.matching import MatchConfig, match
from bench.labelled_pages import list_images, read_size
from bench.tables import describe_machine
from bench.timing import Way, add_timing_arguments, print_speeds, take_turns

Embeddings = NDArray[np.float32]

BACKBONE = "moco_v2_800ep_pretrain"
TOPK = 20
ORIGINAL = "the original's way"
FORWARD, PRODUCT = "floor: bare forward pass, torch in float32", "floor: bare matrix product"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="extraction | matching")
    extraction = commands.add_parser("extraction")
    pages = ROOT / "iiif" / "sample"
    extraction.add_argument("--pages", type=Path, default=pages, metavar="DIR", help="images (default: the sample)")
    extraction.add_argument("--count", type=int, default=40, help="number of images to embed (default: %(default)s)")
    extraction.add_argument("--batch", type=int, default=16, help="images per batch (default: %(default)s)")
    extraction.set_defaults(measure=measure_extraction)
    matching = commands.add_parser("matching")
    sizes = ["500x200704", "5000x384", "20000x384"]
    matching.add_argument("--sizes", nargs="+", default=sizes, help="sizes to measure, as IMAGESxDIMENSION")
    matching.set_defaults(measure=measure_matching)
    for command in (extraction, matching):
        add_timing_arguments(command, rounds=3)


def run(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        arguments.measure(arguments, Path(folder))


def measure_extraction(arguments: argparse.Namespace, folder: Path) -> None:
    paths = list_images(arguments.pages, "val")[: arguments.count]
    pixels = statistics.median(width * height for width, height in map(read_size, paths)) / 1e6
    print(f"{len(paths)} images of {pixels:.1f} megapixels, batches of {arguments.batch}, {describe_machine()}\n")
    timings = take_turns(build_extractions(paths, folder, arguments.batch), arguments.rounds, arguments.busy)
    print_speeds(timings, len(paths), "images/s", FORWARD, ORIGINAL)


def measure_matching(arguments: argparse.Namespace, folder: Path) -> None:
    for text in arguments.sizes:
        images, dimension = map(int, text.split("x"))
        print(f"\nTwo documents of {images} images, d = {dimension}; {describe_machine()}\n")
        timings = take_turns(build_matchings(images, dimension, folder), arguments.rounds, arguments.busy)
        print_speeds(timings, None, "s", PRODUCT, ORIGINAL)


def build_extractions(paths: list[Path], folder: Path, batch_size: int) -> dict[str, Way]:
    """Return the ways to embed all images, by name."""
    whole = torchvision.models.resnet50(weights=None).eval()
    state = {f"module.encoder_q.{name}": values for name, values in whole.state_dict().items()}
    torch.save({"state_dict": state}, folder / f"{BACKBONE}.pth")
    config = EmbedderConfig(batch_size=batch_size, streams=0)
    precisions = (Precision.AUTO, Precision.BFLOAT16, Precision.FLOAT32)
    backbone = find_backbone(BACKBONE)
    fastest, half, exact = (load_embedder(backbone, folder, replace(config, precision=each)) for each in precisions)
    print(f"This project: {fastest.runtime}, streams: {fastest.streams}\n")
    extractor = create_feature_extractor(whole, {"layer3.5.bn3": "conv4", "avgpool": "avgpool"})
    sizes = [min(batch_size, len(paths) - start) for start in range(0, len(paths), batch_size)]
    ready = [torch.rand(size, 3, 224, 224) for size in sizes]
    requested = [save_at_request_size(path, folder, exact.input_size) for path in paths]
    return {
        "this project, images of the size that it asks for": partial(embed, requested, fastest),
        "this project, images of full size": partial(embed, paths, fastest),
        f"the size that it asks for, {half.runtime}": partial(embed, requested, half),
        f"the size that it asks for, {exact.runtime}": partial(embed, requested, exact),
        ORIGINAL: partial(embed_as_the_original, paths, extractor, batch_size),
        FORWARD: partial(forward, exact, [prepare(batch, exact) for batch in ready]),
        "the original's network, bare": partial(forward_whole, extractor, ready),
        "decoding alone, full size": lambda: [decode(path, None) for path in paths],
        "decoding alone, reduced": lambda: [decode(path, 2 * exact.input_size) for path in paths],
    }


def save_at_request_size(path: Path, folder: Path, input_size: int) -> Path:
    """Save an image at the size that a job requests: the shorter side is 1.25 times the network's input."""
    with path.open("rb") as file:
        image, _ = decode_picture(file)
    factor = min(1.0, 1.25 * input_size / min(image.size))
    size = round(image.width * factor), round(image.height * factor)
    image.resize(size, Image.Resampling.LANCZOS).save(folder / path.name, quality=80)
    return folder / path.name


def decode(path: Path, least: int | None) -> NDArray[np.uint8]:
    """Decode an image so that its shorter side has at least ``least`` pixels; None decodes the full size."""
    with path.open("rb") as file:
        return decode_image(file, least, min)[0]


def embed(paths: list[Path], embedder: Embedder) -> None:
    """Embed images as a job does: several batches at the same time."""
    least = 2 * embedder.input_size
    for _ in embedder.run(lambda batch: embedder.embed([decode(path, least) for path in batch]), embedder.split(paths)):
        pass


@torch.inference_mode()
def embed_as_the_original(paths: list[Path], extractor: torch.nn.Module, batch_size: int) -> torch.Tensor:
    """Embed images as the original extractorAPI does."""
    features = []
    for start in range(0, len(paths), batch_size):
        images = [read_as_the_original(path) for path in paths[start : start + batch_size]]
        batch = torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2).contiguous()
        features.append(extractor(batch)["conv4"].flatten(1))
    return torch.cat(features)


def read_as_the_original(path: Path) -> NDArray[np.generic]:
    image = cv2.imread(str(path))
    assert image is not None, path
    return cv2.resize(image, (224, 224))


def prepare(batch: torch.Tensor, embedder: Embedder) -> torch.Tensor:
    return batch.to(embedder.device).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def forward(embedder: Embedder, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        embedder.network(batch, None)
    if embedder.device.type == "cuda":
        torch.cuda.synchronize()


@torch.inference_mode()
def forward_whole(extractor: torch.nn.Module, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        extractor(batch)


def build_matchings(images: int, dimension: int, folder: Path) -> dict[str, Way]:
    """Return the ways to match two documents, by name.

    Args:
        images: Number of images of each document.
        dimension: Number of values of an embedding.
        folder: Folder for the embeddings, which are then in the file cache of the operating system.
    """
    first, second = (draw_embeddings(images, dimension, seed) for seed in (0, 1))
    halves = [folder / "first.npy", folder / "second.npy"]
    for path, embeddings in zip(halves, (first, second), strict=True):
        np.save(path, embeddings.astype(np.float16))
        torch.save(torch.from_numpy(embeddings), path.with_suffix(".pt"))
    product = torch.empty(min(2048, images), images)
    ways: dict[str, Callable[[Embeddings, Embeddings], object]] = {ORIGINAL: match_as_the_original}
    if find_spec("faiss"):
        ways["faiss IndexFlatIP"] = match_with_faiss
    else:
        print("faiss is left out because it is not installed (`pip install faiss-cpu`).\n")
    return {
        "this project": partial(match_from_files, *halves),
        **{name: partial(way, first, second) for name, way in ways.items()},
        "the original's way, from its own cache": lambda: match_as_the_original(
            *(torch.load(path.with_suffix(".pt")).numpy() for path in halves)
        ),
        PRODUCT: partial(multiply, torch.from_numpy(first), torch.from_numpy(second), product),
    }


def draw_embeddings(images: int, dimension: int, seed: int) -> Embeddings:
    embeddings = np.random.default_rng(seed).standard_normal((images, dimension), dtype=np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings


def match_from_files(first: Path, second: Path) -> object:
    return match([np.load(first, mmap_mode="r")], np.load(second, mmap_mode="r"), MatchConfig(TOPK))


def match_as_the_original(first: Embeddings, second: Embeddings) -> object:
    """Match as the original extractorAPI does: compute all similarities, then sort each row and column."""
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second))
    scores = one @ other.T
    return [np.argsort(row)[-TOPK:] for matrix in (scores, scores.T) for row in matrix]


def match_with_faiss(first: Embeddings, second: Embeddings) -> object:
    import faiss

    found = []
    for base, queries in ((first, second), (second, first)):
        index = faiss.IndexFlatIP(base.shape[1])
        index.add(base)
        found.append(index.search(queries, TOPK))
    return found


def multiply(first: torch.Tensor, second: torch.Tensor, product: torch.Tensor) -> None:
    """Compute the matrix product alone, in blocks of rows."""
    for rows in first.split(len(product)):
        torch.mm(rows, second.T, out=product[: len(rows)])
