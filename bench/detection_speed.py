"""Compare the speed of detection with that of ultralytics' own prediction and with a floor.

Every way reads the same JPEG files and returns boxes. The floors are forward passes alone, on prepared batches of
the same shapes, in full batches. One has the runtime and the streams of this project. The other is torch in float32,
with all threads in each operation.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from app.config import ROOT
from app.detection.detector import Detector, DetectorConfig
from app.detection.engines import TorchEngine
from app.detection.precision import Precision
from app.pipelines.detection.pages import FetchedPage, decode_page
from bench.labelled_pages import add_weights_argument, list_images, open_detector
from bench.tables import describe_machine
from bench.timing import Way, add_timing_arguments, print_speeds, take_turns

FLOOR = "floor: bare forward pass, same runtime and streams"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pages = ROOT / "iiif" / "sample"
    parser.add_argument("--pages", type=Path, default=pages, metavar="DIR", help="pages (default: the sample document)")
    parser.add_argument("--count", type=int, default=40, help="number of pages to detect on (default: %(default)s)")
    parser.add_argument("--device", default="", help="cpu, cuda or cuda:1 (default: the GPU if there is one)")
    parser.add_argument(
        "--batch", type=int, default=DetectorConfig.batch_size, help="pages per batch (default: %(default)s)"
    )
    add_weights_argument(parser)
    add_timing_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    paths = list_images(arguments.pages, "val")[: arguments.count]
    config = DetectorConfig(batch_size=arguments.batch, device=arguments.device, precision=Precision.AUTO, streams=0)
    detector = open_detector(arguments.weights, config)
    plain = open_detector(arguments.weights, replace(config, precision=Precision.FLOAT32, streams=1))
    print(f"{len(paths)} pages, batches of {arguments.batch}, {describe_machine()}")
    print(f"{detector.device}: {detector.runtime}, streams: {detector.streams}\n")
    ways = build_ways(paths, detector, plain, arguments.weights)
    print_speeds(take_turns(ways, arguments.rounds, arguments.busy), len(paths), "pages/s", FLOOR)


def build_ways(paths: list[Path], detector: Detector, plain: Detector, weights: Path) -> dict[str, Way]:
    """Return the ways to detect on every page, by name.

    Args:
        paths: Page images.
        detector: Detector as a worker loads it.
        plain: Detector in float32 with one stream.
        weights: Weights file of both.
    """
    from ultralytics import YOLO

    size = detector.config.batch_size
    names = [str(path) for path in paths]
    predict = partial(predict_with_library, detector)
    library = YOLO(weights)
    inputs = draw_inputs(paths, plain)
    return {
        "this project": partial(detect, paths, detector),
        "this project, float32 in one stream": partial(detect, paths, plain),
        "library, weights loaded for each page (as the original did)": lambda: [
            predict(YOLO(weights), [n]) for n in names
        ],
        "library, a page at a time": lambda: [predict(library, [name]) for name in names],
        "library, in batches": lambda: [predict(library, names[k : k + size]) for k in range(0, len(names), size)],
        "bare forward pass, float32 in one stream": partial(forward, plain, inputs),
        FLOOR: partial(forward, detector, inputs),
    }


def predict_with_library(detector: Detector, library: Any, names: list[str]) -> None:
    """Detect with ultralytics' own `predict`, configured like the detector.

    Args:
        detector: Detector whose configuration is used.
        library: Model of ultralytics.
        names: Paths of the images, one batch.
    """
    config, half = detector.config, detector.runtime.dtype == torch.float16
    options = {"imgsz": config.size, "conf": config.confidence, "iou": config.iou, "half": half, "verbose": False}
    library.predict(names, batch=len(names), **options)


def detect(paths: list[Path], detector: Detector) -> None:
    """Detect as a job does: several batches at a time."""

    def work(batch: Sequence[FetchedPage]) -> None:
        images = [decode_page(Path(), page, detector.config.size).pixels for page in batch]
        detector.detect([image for image in images if image is not None])

    pages = [FetchedPage(number, "", path.name, file=str(path)) for number, path in enumerate(paths, 1)]
    for _ in detector.run(work, detector.split(pages)):
        pass


def draw_inputs(paths: list[Path], detector: Detector) -> list[NDArray[np.uint8]]:
    """Return random input batches of the shapes in which the pages reach the network, in full batches.

    Args:
        paths: Page images.
        detector: Detector that runs torch in one stream.
    """
    shapes: Counter[tuple[int, ...]] = Counter()
    with detector.lend_engine() as engine:
        network = cast(TorchEngine, engine).network
    hook = network.register_forward_pre_hook(lambda _, inputs: shapes.update([tuple(each.shape) for each in inputs[0]]))
    detect(paths, detector)
    hook.remove()
    size, random = detector.config.batch_size, np.random.default_rng(0)
    batches = [
        (min(size, count - k), height, width, channels)
        for (channels, height, width), count in shapes.items()
        for k in range(0, count, size)
    ]
    return [random.integers(0, 256, batch, dtype=np.uint8) for batch in batches]


def forward(detector: Detector, inputs: list[NDArray[np.uint8]]) -> None:
    """Run the engines of a detector on all inputs, in as many threads as it has streams."""

    @torch.inference_mode()
    def work(batch: NDArray[np.uint8]) -> None:
        with detector.lend_engine() as engine:
            engine(batch)

    for _ in detector.run(work, inputs):
        pass
    if detector.device.type == "cuda":
        torch.cuda.synchronize()
