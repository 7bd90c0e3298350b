"""How fast images are embedded and matched, beside the original's way and the floor, in one run.

    python bench/similarity_speed.py extraction FOLDER-OF-IMAGES
    python bench/similarity_speed.py matching

Extraction: every way reads the same JPEG files, or these at the size at which image services are asked for them; the
floor is the bare forward pass on ready tensors. The original's way: OpenCV decodes at full size, BGR from 0 to 255 is
stretched to 224 x 224, torchvision's whole ResNet-50 looks at it in float32. The weights are made up: they do not
change the speed.

Matching: the best 20 of each image in the other document, both ways. The original's way: scikit-learn's cosine
similarity, then a sort of each row. The floor is the bare matrix product. This project reads embeddings in half
precision from files, as they lie in its cache; the others have float32 in memory, but for the original's cache of
``.pt`` files. Needs scikit-learn and faiss-cpu.

The ways take turns; the median over the rounds is printed.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

# Settings of the machine that bind OpenBLAS, which scikit-learn works with, to an older processor.
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402
from torchvision.models.feature_extraction import create_feature_extractor  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.images.pixels import decode_image  # noqa: E402
from app.similarity.backbones import find_backbone  # noqa: E402
from app.similarity.embedder import Embedder, EmbedderConfig, load_embedder  # noqa: E402
from app.similarity.matching import MatchConfig, match  # noqa: E402

Way = Callable[[], object]
Embeddings = NDArray[np.float32]

BACKBONE = "moco_v2_800ep_pretrain"
TOPK = 20


def build_extractions(paths: list[Path], folder: Path, batch_size: int) -> dict[str, Way]:
    """Return the ways to embed every image, by name."""
    whole = torchvision.models.resnet50(weights=None).eval()
    torch.save(
        {"state_dict": {f"module.encoder_q.{k}": v for k, v in whole.state_dict().items()}}, folder / f"{BACKBONE}.pth"
    )
    config = EmbedderConfig(batch_size=batch_size)
    embedder = load_embedder(find_backbone(BACKBONE), folder, config)
    half = load_embedder(find_backbone(BACKBONE), folder, replace(config, half_precision=True))
    extractor = create_feature_extractor(whole, {"layer3.5.bn3": "conv4", "avgpool": "avgpool"})
    sizes = [min(batch_size, len(paths) - start) for start in range(0, len(paths), batch_size)]
    ready = [torch.rand(size, 3, 224, 224).to(embedder.device, memory_format=torch.channels_last) for size in sizes]
    asked = [save_as_asked(path, folder, embedder.input_size) for path in paths]
    return {
        "this project, images of the size that it asks for": lambda: embed(asked, embedder),
        "this project, images of full size": lambda: embed(paths, embedder),
        "this project, the size that it asks for, half precision": lambda: embed(asked, half),
        "the original's way": lambda: embed_as_the_original(paths, extractor, batch_size),
        "floor: bare forward pass": lambda: [forward(embedder, batch) for batch in ready],
        "the original's network, bare": lambda: [forward_whole(extractor, batch) for batch in ready],
        "decoding alone, full size": lambda: [decode(path, None) for path in paths],
        "decoding alone, reduced": lambda: [decode(path, 448) for path in paths],
    }


def save_as_asked(path: Path, folder: Path, input_size: int) -> Path:
    """Save an image as an image service sends it when the service asks: the shorter side 1.25 times the network's."""
    with Image.open(path) as image:
        factor = min(1.0, 1.25 * input_size / min(image.size))
        small = image.convert("RGB").resize((round(image.width * factor), round(image.height * factor)), Image.LANCZOS)
    small.save(folder / path.name, quality=80)
    return folder / path.name


def decode(path: Path, least: int | None) -> NDArray[np.uint8]:
    with path.open("rb") as file:
        return decode_image(file, least, min)[0]


def embed(paths: list[Path], embedder: Embedder) -> int:
    """Embed the images as a job does: a batch is decoded while the one before it is looked at."""
    size = embedder.config.batch_size
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    with ThreadPoolExecutor(1) as executor:
        ahead = executor.map(lambda batch: [decode(path, 2 * embedder.input_size) for path in batch], batches)
        return sum(len(embedder.embed(images).astype(np.float16)) for images in ahead)


@torch.inference_mode()
def embed_as_the_original(paths: list[Path], extractor: torch.nn.Module, batch_size: int) -> int:
    features = []
    for start in range(0, len(paths), batch_size):
        images = [cv2.resize(cv2.imread(str(path)), (224, 224)) for path in paths[start : start + batch_size]]
        batch = torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2).contiguous()
        features.append(extractor(batch)["conv4"].flatten(1))
    return len(torch.cat(features))


@torch.inference_mode()
def forward(embedder: Embedder, batch: torch.Tensor) -> None:
    embedder.network(batch, None)
    if embedder.device.type == "cuda":
        torch.cuda.synchronize()


@torch.inference_mode()
def forward_whole(extractor: torch.nn.Module, batch: torch.Tensor) -> None:
    extractor(batch.contiguous())


def build_matchings(images: int, dimension: int, folder: Path) -> dict[str, Way]:
    """Return the ways to match two documents, by name; their embeddings lie on disk, in the cache of files."""
    import faiss
    from sklearn.metrics.pairwise import cosine_similarity

    first, second = (draw_embeddings(images, dimension, seed) for seed in (0, 1))
    halves = [folder / "first.npy", folder / "second.npy"]
    for path, embeddings in zip(halves, (first, second), strict=True):
        np.save(path, embeddings.astype(np.float16))
        torch.save(torch.from_numpy(embeddings), path.with_suffix(".pt"))
    one, other = torch.from_numpy(first), torch.from_numpy(second)
    side = min(2048, images)
    product = torch.empty(side, images)

    def match_here() -> object:
        mapped = [np.load(path, mmap_mode="r") for path in halves]
        return match([mapped[0]], mapped[1], MatchConfig(TOPK))

    def match_as_the_original(first: Embeddings, second: Embeddings) -> object:
        scores = cosine_similarity(first, second)
        return [np.argsort(row)[-TOPK:] for matrix in (scores, scores.T) for row in matrix]

    def match_with_faiss() -> object:
        found = []
        for base, queries in ((first, second), (second, first)):
            index = faiss.IndexFlatIP(dimension)
            index.add(base)
            found.append(index.search(queries, TOPK))
        return found

    def multiply() -> None:
        for start in range(0, images, side):
            rows = one[start : start + side]
            torch.mm(rows, other.T, out=product[: len(rows)])

    return {
        "this project": match_here,
        "the original's way": lambda: match_as_the_original(first, second),
        "the original's way, from its own cache": lambda: match_as_the_original(
            *(torch.load(path.with_suffix(".pt")).numpy() for path in halves)
        ),
        "faiss IndexFlatIP": match_with_faiss,
        "floor: bare matrix product": multiply,
    }


def draw_embeddings(images: int, dimension: int, seed: int) -> Embeddings:
    embeddings = np.random.default_rng(seed).standard_normal((images, dimension), dtype=np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings


def measure(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Return the median seconds of each way; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def print_table(head: str, medians: dict[str, float], count: int | None = None) -> None:
    floor, original = (
        next(medians[name] for name in medians if name.startswith(start)) for start in ("floor", "the or")
    )
    print(f"\n{head}\n\n| way | {'images/s' if count else 's'} | of the floor | times the original's way |")
    print("| --- | --- | --- | --- |")
    for name, median in medians.items():
        shown = f"{count / median:.1f}" if count else f"{median:.2f}"
        print(f"| {name} | {shown} | {median / floor:.2f} | {original / median:.1f} |")


def describe_machine() -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    return f"{device}, torch {torch.__version__}"


def name_blas() -> str:
    from threadpoolctl import threadpool_info

    found = {f"{each['internal_api']} {each['version']} {each.get('architecture', '')}" for each in threadpool_info()}
    return ", ".join(sorted(each for each in found if "blas" in each))


def measure_extraction(arguments: argparse.Namespace, folder: Path) -> None:
    paths = sorted(arguments.folder.glob("*.jpg"))[: arguments.images]
    pixels = statistics.median(np.prod(decode(path, None).shape[:2]) for path in paths) / 1e6
    medians = measure(build_extractions(paths, folder, arguments.batch), arguments.rounds)
    head = f"{len(paths)} images of {pixels:.1f} megapixels, batches of {arguments.batch}, {describe_machine()}"
    print_table(head, medians, len(paths))


def measure_matching(arguments: argparse.Namespace, folder: Path) -> None:
    print(f"{describe_machine()}; numpy's BLAS: {name_blas()}")
    for images, dimension in list_sizes(arguments.sizes):
        medians = measure(build_matchings(images, dimension, folder), arguments.rounds)
        print_table(f"Two documents of {images} images, d = {dimension}", medians)


def list_sizes(texts: list[str]) -> Iterator[tuple[int, int]]:
    for text in texts:
        images, dimension = map(int, text.split("x"))
        yield images, dimension


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of similarity.")
    parser.add_argument("--rounds", type=int, default=5)
    commands = parser.add_subparsers(required=True)
    extraction = commands.add_parser("extraction")
    extraction.add_argument("folder", type=Path)
    extraction.add_argument("--images", type=int, default=40)
    extraction.add_argument("--batch", type=int, default=16)
    extraction.set_defaults(run=measure_extraction)
    matching = commands.add_parser("matching")
    matching.add_argument(
        "--sizes", nargs="+", default=["500x200704", "5000x384", "20000x384"], help="IMAGESxDIMENSION"
    )
    matching.set_defaults(run=measure_matching)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments.run(arguments, Path(folder))


if __name__ == "__main__":
    main()
