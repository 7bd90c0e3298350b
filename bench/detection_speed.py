"""Compare the speed of detection with that of ultralytics' own prediction and with a floor.

Every way reads the same JPEG files and returns boxes. The floor is the forward pass alone, on prepared tensors of the
same shapes, in full batches.
"""

import argparse
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.config import ROOT
from app.detection.detector import Detector, DetectorConfig
from app.pipelines.detection.pages import FetchedPage, load_batches
from bench.labelled_pages import add_weights_argument, list_images, open_detector
from bench.tables import describe_machine
from bench.timing import Way, add_timing_arguments, print_speeds, take_turns

FLOOR = "floor: bare forward pass"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pages = ROOT / "iiif" / "sample"
    parser.add_argument("--pages", type=Path, default=pages, metavar="DIR", help="pages (default: the sample document)")
    parser.add_argument("--count", type=int, default=40, help="number of pages to detect on (default: %(default)s)")
    parser.add_argument(
        "--batch", type=int, default=DetectorConfig.batch_size, help="pages per batch (default: %(default)s)"
    )
    add_weights_argument(parser)
    add_timing_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    paths = list_images(arguments.pages, "val")[: arguments.count]
    detector = open_detector(arguments.weights, DetectorConfig(batch_size=arguments.batch))
    print(f"{len(paths)} pages, batches of {arguments.batch}, {describe_machine()}\n")
    timings = take_turns(build_ways(paths, detector, arguments.weights), arguments.rounds, arguments.busy)
    print_speeds(timings, len(paths), "pages/s", FLOOR)


def build_ways(paths: list[Path], detector: Detector, weights: Path) -> dict[str, Way]:
    """Return the ways to detect on all pages, by name."""
    from ultralytics import YOLO

    size = detector.config.batch_size
    names = [str(path) for path in paths]
    predict = partial(predict_with_library, detector)
    library = YOLO(weights)
    return {
        "this project": partial(detect, paths, detector),
        "library, weights loaded for each page (as the original did)": lambda: [
            predict(YOLO(weights), [n]) for n in names
        ],
        "library, a page at a time": lambda: [predict(library, [name]) for name in names],
        "library, in batches": lambda: [predict(library, names[k : k + size]) for k in range(0, len(names), size)],
        FLOOR: partial(forward, detector, draw_inputs(paths, detector)),
    }


def predict_with_library(detector: Detector, library: Any, names: list[str]) -> None:
    """Detect with ultralytics' own `predict`, configured like the detector.

    Args:
        detector: Detector whose configuration is used.
        library: Model of ultralytics.
        names: Paths of the images, one batch.
    """
    config, half = detector.config, detector.dtype == torch.float16
    options = {"imgsz": config.size, "conf": config.confidence, "iou": config.iou, "half": half, "verbose": False}
    library.predict(names, batch=len(names), **options)


def detect(paths: list[Path], detector: Detector) -> None:
    """Detect as a job does: the next batch is decoded while the network processes the current one."""
    pages = [FetchedPage(number, "", path.name, file=str(path)) for number, path in enumerate(paths, 1)]
    for batch in load_batches(Path(), pages, detector.config.batch_size, detector.config.size):
        detector.detect([image.pixels for image in batch if image.pixels is not None])


def draw_inputs(paths: list[Path], detector: Detector) -> list[torch.Tensor]:
    """Return random input batches of the shapes in which the pages reach the network, in full batches."""
    shapes: Counter[torch.Size] = Counter()
    hook = detector.network.register_forward_pre_hook(
        lambda _, inputs: shapes.update([each.shape for each in inputs[0]])
    )
    detect(paths, detector)
    hook.remove()
    size = detector.config.batch_size
    batches = [(min(size, count - k), *shape) for shape, count in shapes.items() for k in range(0, count, size)]
    ready = [torch.rand(batch).to(detector.device, detector.dtype) for batch in batches]
    return [batch.contiguous(memory_format=torch.channels_last) for batch in ready]


@torch.inference_mode()
def forward(detector: Detector, inputs: list[torch.Tensor]) -> None:
    """Run the forward pass alone."""
    for batch in inputs:
        detector.network(batch)
    if detector.device.type == "cuda":
        torch.cuda.synchronize()
