"""Compare the runtimes of a CPU with the default weights: torch and OpenVINO, in float32 and in bfloat16.

The first tables show the speed of the forward pass alone, with one stream for each core. The last table shows the
accuracy on the validation pages.
"""

import argparse
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from app.detection.detector import Detector, DetectorConfig
from app.detection.precision import EXACT, Library, Runtime
from app.detection.weights import load_network
from app.training.evaluate import EVALUATION_CONFIG
from bench.accuracy import detect_pages
from bench.detection_speed import forward
from bench.labelled_pages import FIGURES, WEIGHTS, add_pages_argument, format_figures, list_images
from bench.tables import describe_machine, print_table
from bench.timing import Way, add_timing_arguments, print_speeds, take_turns

REDUCED = Runtime(Library.OPENVINO, torch.bfloat16)
RUNTIMES = (
    EXACT,
    Runtime(Library.TORCH, torch.bfloat16),
    Runtime(Library.OPENVINO, torch.float32),
    REDUCED,
)
# Most pages are portrait.
HEIGHT, WIDTH = EVALUATION_CONFIG.size, EVALUATION_CONFIG.size * 3 // 4
BATCH = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pages_argument(parser)
    parser.add_argument("--batches", type=int, default=12, help="batches of 4 images to time (default: %(default)s)")
    add_timing_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    config = replace(EVALUATION_CONFIG, device="cpu")
    detectors = {str(runtime): Detector(load_network(WEIGHTS), config, runtime=runtime) for runtime in RUNTIMES}
    print(f"{WIDTH} × {HEIGHT} pixels, {describe_machine()}\n")
    for batch in (BATCH, 1):
        count = arguments.batches * BATCH
        images = np.random.default_rng(0).integers(0, 256, (batch, HEIGHT, WIDTH, 3), dtype=np.uint8)
        ways: dict[str, Way] = {
            name: partial(forward, detector, [images] * (count // batch)) for name, detector in detectors.items()
        }
        print(f"Batches of {batch}:\n")
        print_speeds(take_turns(ways, arguments.rounds, arguments.busy), count, "images/s", str(REDUCED))
        print()
    paths = list_images(arguments.pages, "val")
    print(f"{len(paths)} pages, confidence {DetectorConfig.confidence}\n")
    rows = (
        [name, *format_figures(detect_pages(paths, detector), DetectorConfig.confidence)]
        for name, detector in detectors.items()
    )
    print_table(["runtime", *FIGURES], rows)
