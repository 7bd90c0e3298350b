"""Measure bytes, seconds and average precision of detection at each request size.

The demo IIIF server serves each folder on loopback. Every page is fetched at every request size, as a job fetches it.
The detector of the service detects on it, and the boxes are scaled to full-size pixels.

The server encodes every size as JPEG, the full size too, as real servers do. The default quality, 80, is that of
Cantaloupe (IIPImage: 75, Loris: 90). The row "file on disk" reads the original file instead.

The seconds include fetching and decoding, but no encoding: the server caches its images. The last row only decodes.

The command prints a table for each folder. Its last column is the difference between the AP50 of the row and that of
the full size, with a 95 % interval over resampled pages. An interval that includes 0 shows no difference.
"""

import argparse
import functools
import io
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.detection.detector import Detector, DetectorConfig
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher, FetchPolicy
from app.iiif.host_limits import HostLimits
from app.iiif.hosts import HostRule, HostRules
from app.iiif.images import fetch_canvas_image
from app.images.pixels import decode_image
from app.net.addresses import AddressGuard
from app.training.evaluate import EVALUATION_CONFIG
from app.training.labelled_page import LabelledPage, TrueBoxes
from app.training.metrics import evaluate_pages
from bench.labelled_pages import (
    FIGURES,
    add_weights_argument,
    format_figures,
    list_images,
    load_true_boxes,
    open_detector,
    read_size,
)
from bench.tables import describe_machine, print_table
from bench.timing import Timings, add_timing_arguments, take_turns
from tests.support.manifests import parse_manifest

SIZES = (480, 640, 800, 900, 1000, 1280, 1600)
FULL, FILE = "full", "file on disk"
DETECTION = "detection"
RESAMPLES = 200


@dataclass(frozen=True)
class Page:
    """A page to fetch.

    Attributes:
        path: Image file on disk.
        image: Image of the page's canvas in the manifest.
        true: True boxes, in full-size pixels.
    """

    path: Path
    image: CanvasImage
    true: TrueBoxes


@dataclass(frozen=True)
class Fetched:
    """A fetched and decoded image.

    Attributes:
        pixels: RGB ``(height, width, 3)`` uint8.
        size: (width, height) of the image, in these pixels.
        full_size: (width, height) of the full-size image.
        bytes: Number of bytes fetched for the image, including its ``info.json``.
    """

    pixels: NDArray[np.uint8]
    size: tuple[float, float]
    full_size: tuple[int, int]
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """Result of fetching all pages one way.

    Attributes:
        bytes: Number of bytes fetched.
        pages: Detections and true boxes of every page, in full-size pixels.
    """

    bytes: int
    pages: list[LabelledPage]


Fetch = Callable[[Page], Fetched]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folders of labelled pages, or of documents with illustrations.json"
    parser.add_argument("--pages", type=Path, nargs="+", required=True, metavar="DIR", help=text)
    parser.add_argument("--splits", nargs="+", default=["val"], help="train, val or both (default: val)")
    add_weights_argument(parser)
    parser.add_argument("--quality", type=int, default=80, help="JPEG quality of the server (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="longer sides to request, in pixels")
    add_timing_arguments(parser, rounds=3)


def run(arguments: argparse.Namespace) -> None:
    detector = open_detector(arguments.weights, EVALUATION_CONFIG)
    for folder in arguments.pages:
        images = list_images(folder, *arguments.splits)
        true = load_true_boxes(images)
        print(
            f"\n{len(images)} pages of {folder.name}, {sum(map(len, true))} illustrations; JPEG quality "
            f"{arguments.quality}, confidence {DetectorConfig.confidence}; {describe_machine()}\n",
            flush=True,
        )
        with open_pages(images, true, arguments.quality) as (pages, fetcher):
            ways: dict[str, Fetch] = {str(size): functools.partial(fetcher.fetch, size) for size in arguments.sizes}
            ways |= {FULL: functools.partial(fetcher.fetch, None), FILE: read_file}
            outcomes = {name: evaluate(pages, fetch, detector) for name, fetch in ways.items()}
            timings = time_fetching(pages, ways, detector, arguments)
        print_outcomes(outcomes, timings)


class CountingFetcher:
    """Fetches images as a job does, but without a pause between requests, and counts the bytes."""

    def __init__(self) -> None:
        self._bytes = 0
        limits, guard = HostLimits(HostRules(HostRule(interval_seconds=0.0))), AddressGuard(frozenset({"127.0.0.1"}))
        self.fetcher = Fetcher(FetchPolicy(), limits, guard, self._count)

    def _count(self, host: str, size: int) -> None:
        self._bytes += size

    def fetch(self, longest: int | None, page: Page) -> Fetched:
        """Fetch and decode the image of a page.

        Args:
            longest: Longer side to request, in pixels; None requests the full size.
            page: Page to fetch.
        """
        before = self._bytes
        fetched = fetch_canvas_image(self.fetcher, page.image, longest)
        pixels, size = decode_image(io.BytesIO(fetched.data), DetectorConfig.size)
        return Fetched(pixels, size, (fetched.full_width, fetched.full_height), self._bytes - before)


def read_file(page: Page) -> Fetched:
    """Decode the file of a page without fetching it."""
    with page.path.open("rb") as file:
        pixels, size = decode_image(file, DetectorConfig.size)
    return Fetched(pixels, size, read_size(page.path), page.path.stat().st_size)


@contextmanager
def open_pages(images: list[Path], true: list[TrueBoxes], quality: int) -> Iterator[tuple[list[Page], CountingFetcher]]:
    """Serve images from a library that caches each size that it has encoded.

    Args:
        images: Image files.
        true: True boxes of each image.
        quality: JPEG quality of the server.

    Yields:
        The pages, and the fetcher for them.
    """
    fetcher = CountingFetcher()
    with tempfile.TemporaryDirectory() as folder:
        for path in images:
            (Path(folder) / path.name).symlink_to(path)
        library = create_iiif_server(Path(folder), quality)
        views: dict[str, Any] = library.view_functions
        views["image"] = functools.cache(views["image"])
        with serve(library) as url:
            manifest = parse_manifest(fetcher.fetcher.fetch_document(f"{url}/manifest.json"), url)
            by_name = {canvas.image.own_name: canvas.image for canvas in manifest.canvases if canvas.image}
            yield [Page(path, by_name[path.name], boxes) for path, boxes in zip(images, true, strict=True)], fetcher


def evaluate(pages: list[Page], fetch: Fetch, detector: Detector) -> Outcome:
    """Fetch every page one way and detect on it."""
    size, labelled = 0, []
    for page in pages:
        fetched = fetch(page)
        (found,) = detector.detect([fetched.pixels])
        found = found.scaled(fetched.size, fetched.full_size)
        labelled.append(LabelledPage(page.path.name, fetched.full_size, page.true, found))
        size += fetched.bytes
    return Outcome(size, labelled)


def time_fetching(
    pages: list[Page], ways: Mapping[str, Fetch], detector: Detector, arguments: argparse.Namespace
) -> Timings:
    """Time each way of fetching, and the detector alone, over all pages."""

    def fetch_all(fetch: Fetch) -> None:
        for page in pages:
            fetch(page)

    decoded = [read_file(page).pixels for page in pages]

    def detect_all() -> None:
        for pixels in decoded:
            detector.detect([pixels])

    timed = {name: functools.partial(fetch_all, fetch) for name, fetch in ways.items()}
    return take_turns({**timed, DETECTION: detect_all}, arguments.rounds, arguments.busy)


def print_outcomes(outcomes: dict[str, Outcome], timings: Timings) -> None:
    count = len(outcomes[FULL].pages)
    head = ["request", "MB", "times fewer than full", "than the files"]
    head += [*(f"s/page, {load}" for load in timings.seconds), *FIGURES, "AP50 - full's"]
    rows = []
    for name, outcome in outcomes.items():
        times = [f"{outcomes[other].bytes / outcome.bytes:.1f}" for other in (FULL, FILE)]
        seconds = [f"{timings.median(load, name) / count:.4f}" for load in timings.seconds]
        figures = format_figures(outcome.pages, DetectorConfig.confidence)
        difference = compare_ap50(outcome.pages, outcomes[FULL].pages)
        rows.append([name, f"{outcome.bytes / 1e6:.2f}", *times, *seconds, *figures, difference])
    print_table(head, rows)
    detection = [f"{timings.median(load, DETECTION) / count:.3f} s ({load})" for load in timings.seconds]
    print(f"\nDetection alone, per page: {', '.join(detection)}.")


def compare_ap50(pages: list[LabelledPage], others: list[LabelledPage]) -> str:
    """Return how much the AP50 of ``pages`` exceeds that of ``others``, as text with its 95 % interval.

    Args:
        pages: Detections on the pages.
        others: Other detections on the same pages, in the same order.
    """

    def compute_difference(picked: Collection[int]) -> float:
        one, other = (
            evaluate_pages([each[page] for page in picked], ["illustration"], DetectorConfig.confidence).overall.ap50
            for each in (pages, others)
        )
        return (one or 0) - (other or 0)

    resamples = np.random.default_rng(0).integers(0, len(pages), (RESAMPLES, len(pages))).tolist()
    low, high = np.percentile([compute_difference(picked) for picked in resamples], (2.5, 97.5))
    return f"{compute_difference(range(len(pages))):+.3f} ({low:+.3f} to {high:+.3f})"
