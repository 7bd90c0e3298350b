"""What the request size costs a library in bytes, and what it gives in average precision.

    python bench/request_size.py DOCUMENT/images PAGES/images/val

The demo IIIF server serves each folder on loopback. Every page is fetched at every request size as a job fetches it,
looked at by the service's own detector, and its boxes are carried back to full-size pixels. The true boxes are those
of ``illustrations.json`` beside the folder (``x y w h`` in pixels), else YOLO labels in ``labels/`` beside ``images/``.

The server re-encodes the full size too, as real ones do; the last row is the file as it lies on disk. The default
quality, 80, is Cantaloupe's (IIPImage's is 75, Loris's 90). Seconds are for fetching and decoding an image that the
server has ready. A table for each folder.
"""

import argparse
import functools
import io
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.demo.client_app import serve  # noqa: E402
from app.demo.iiif_server import create_iiif_server  # noqa: E402
from app.detection.detector import Detector, DetectorConfig, load_detector  # noqa: E402
from app.detection.weights import ModelStore, isolate_ultralytics  # noqa: E402
from app.iiif.canvas import CanvasImage  # noqa: E402
from app.iiif.fetch import Fetcher, FetchPolicy  # noqa: E402
from app.iiif.host_limits import HostLimits  # noqa: E402
from app.iiif.hosts import HostRule, HostRules  # noqa: E402
from app.iiif.images import fetch_canvas_image  # noqa: E402
from app.iiif.manifest import parse_manifest  # noqa: E402
from app.images.pixels import decode_image  # noqa: E402
from app.net.addresses import AddressGuard  # noqa: E402
from app.training.evaluate import MEASURING  # noqa: E402
from app.training.labelled_page import LabelledPage, TrueBoxes  # noqa: E402
from app.training.metrics import evaluate_pages  # noqa: E402
from bench.evaluate_weights import format_figures, load_truth  # noqa: E402

SIZES = (640, 800, 900, 1000, 1280, 1600, None)
COLUMNS = (
    *("request", "images, MB", "with info.json, MB", "times fewer than full", "than the files", "s/page"),
    *("AP50", "AP50-95", "precision", "recall"),
)


@dataclass(frozen=True)
class Source:
    """A page to fetch: its file, its image as the manifest names it, and its true boxes in full-size pixels."""

    path: Path
    image: CanvasImage
    true: TrueBoxes


@dataclass(frozen=True)
class Fetched:
    """An image as the service decodes it, with what it took: bytes of the image, of its ``info.json``, seconds."""

    pixels: np.ndarray
    size: tuple[float, float]
    full_size: tuple[int, int]
    bytes: int
    info_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What one way of fetching took and what was found, over all pages."""

    bytes: int
    info_bytes: int
    seconds: float
    pages: list[LabelledPage]


class CountingFetcher(Fetcher):
    """A fetcher that counts the bytes of the documents that it fetches."""

    document_bytes = 0

    def fetch_document(self, url: str) -> bytes:
        data = super().fetch_document(url)
        self.document_bytes += len(data)
        return data


def load_truths(paths: list[Path]) -> list[TrueBoxes]:
    """Return the true boxes of each image, in full-size pixels."""
    file = paths[0].parent.with_name("illustrations.json")
    if not file.exists():
        return [load_truth(path, read_size(path)) for path in paths]
    boxes = {page["image"]: page["illustrations_xywh"] for page in json.loads(file.read_text())}
    xywh = [np.array(boxes[path.name], dtype=np.float64).reshape(-1, 4) for path in paths]
    corners = [np.concatenate([each[:, :2], each[:, :2] + each[:, 2:]], axis=1) for each in xywh]
    return [TrueBoxes(each, np.zeros(len(each), dtype=np.int64)) for each in corners]


def read_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def fetch(fetcher: CountingFetcher, image: CanvasImage, longest: int | None) -> Fetched:
    # The server makes the image now and keeps it: its work is no part of the time that is measured.
    fetch_canvas_image(fetcher, image, longest)
    counted, start = fetcher.document_bytes, time.perf_counter()
    fetched = fetch_canvas_image(fetcher, image, longest)
    pixels, size = decode_image(io.BytesIO(fetched.data), DetectorConfig.size)
    seconds, info_bytes = time.perf_counter() - start, fetcher.document_bytes - counted
    full_size = fetched.full_width, fetched.full_height
    return Fetched(pixels, size, full_size, len(fetched.data), info_bytes, seconds)


def read_file(path: Path) -> Fetched:
    with path.open("rb") as file:
        return Fetched(*decode_image(file, DetectorConfig.size), read_size(path), path.stat().st_size)


def measure(sources: list[Source], way: Callable[[Source], Fetched], detector: Detector) -> Outcome:
    """Fetch every page one way and look at it, one at a time."""
    size = info_size = 0
    seconds, pages = 0.0, []
    for source in sources:
        fetched = way(source)
        (found,) = detector.detect([fetched.pixels])
        found = found.scaled(fetched.size, fetched.full_size)
        pages.append(LabelledPage(source.path.name, fetched.full_size, source.true, found))
        size, info_size, seconds = size + fetched.bytes, info_size + fetched.info_bytes, seconds + fetched.seconds
    return Outcome(size, info_size, seconds, pages)


def measure_folder(folder: Path, quality: int, detector: Detector) -> dict[str, Outcome]:
    """Return the outcome of each request size, and of the files themselves, by name."""
    limits = HostLimits(HostRules(HostRule(interval_seconds=0.0)))
    fetcher = CountingFetcher(FetchPolicy(), limits, AddressGuard(frozenset({"127.0.0.1"})))
    library = create_iiif_server(folder, quality)
    library.view_functions["image"] = functools.lru_cache(maxsize=1)(library.view_functions["image"])
    with serve(library) as url:
        manifest = parse_manifest(fetcher.fetch_document(f"{url}/manifest.json"), url)
        images = [canvas.image for canvas in manifest.canvases if canvas.image]
        paths = [folder / image.own_name for image in images]
        sources = [Source(*each) for each in zip(paths, images, load_truths(paths), strict=True)]
        outcomes = {
            str(longest or "full"): measure(sources, lambda s, size=longest: fetch(fetcher, s.image, size), detector)
            for longest in SIZES
        }
    return outcomes | {"file on disk": measure(sources, lambda source: read_file(source.path), detector)}


def print_table(outcomes: dict[str, Outcome], confidence: float) -> None:
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for name, outcome in outcomes.items():
        cells = name, *format_cost(outcome, outcomes), *format_gain(outcome.pages, confidence)
        print(f"| {' | '.join(cells)} |")


def format_cost(outcome: Outcome, outcomes: dict[str, Outcome]) -> list[str]:
    images, total = outcome.bytes / 1e6, (outcome.bytes + outcome.info_bytes) / 1e6
    full, files = (outcomes[name].bytes / outcome.bytes for name in ("full", "file on disk"))
    seconds = f"{outcome.seconds / len(outcome.pages):.3f}" if outcome.seconds else "–"
    return [f"{images:.2f}", f"{total:.2f}", f"{full:.1f}", f"{files:.1f}", seconds]


def format_gain(pages: list[LabelledPage], confidence: float) -> list[str]:
    precision, recall, ap50, ap50_95 = format_figures(evaluate_pages(pages, ["illustration"], confidence).overall)
    return [ap50, ap50_95, precision, recall]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the request size costs and gives.")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, default=ROOT / "models" / "illustrations.pt")
    parser.add_argument("--quality", type=int, default=80, help="of the JPEG files that the server makes")
    arguments = parser.parse_args()

    isolate_ultralytics()
    weights = ModelStore(arguments.weights.resolve().parent, arguments.weights.name).find()
    detector = load_detector(weights, MEASURING)
    for folder in arguments.folders:
        outcomes = measure_folder(folder.resolve(), arguments.quality, detector)
        pages = outcomes["full"].pages
        print(
            f"\n{folder}: {len(pages)} pages, {sum(len(page.true) for page in pages)} illustrations; "
            f"JPEG quality {arguments.quality}, confidence {DetectorConfig.confidence}, {detector.device.type}, "
            f"{os.cpu_count()} cores, torch {torch.__version__}\n"
        )
        print_table(outcomes, DetectorConfig.confidence)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
