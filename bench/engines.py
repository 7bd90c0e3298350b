"""Compare the runtimes of a CPU with the default weights: torch and OpenVINO, in float32 and in bfloat16.

The first table shows the speed of the forward pass alone, with one stream for each core. The second table shows the
accuracy on the validation pages.

If the package nncf is installed, OpenVINO is also measured in INT8, which jobs do not use. Training pages calibrate it:
``venv/bin/pip install nncf``.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from app.detection.detector import Detector, DetectorConfig
from app.detection.engines import TorchEngine
from app.detection.openvino_network import OpenVinoNetwork
from app.detection.precision import Library, Runtime
from app.detection.weights import load_network
from app.training.evaluate import EVALUATION_CONFIG
from bench.accuracy import detect_pages
from bench.detection_speed import forward
from bench.labelled_pages import FIGURES, WEIGHTS, add_pages_argument, format_figures, list_images
from bench.tables import describe_machine, print_table
from bench.timing import Way, add_timing_arguments, print_speeds, take_turns

FLOAT32 = Runtime(Library.TORCH, torch.float32)
REDUCED = Runtime(Library.OPENVINO, torch.bfloat16)
RUNTIMES = (
    FLOAT32,
    Runtime(Library.TORCH, torch.bfloat16),
    Runtime(Library.OPENVINO, torch.float32),
    REDUCED,
)
QUANTIZED = "OpenVINO in INT8 and bfloat16"
# Most pages are portrait.
HEIGHT, WIDTH = EVALUATION_CONFIG.size, EVALUATION_CONFIG.size * 3 // 4
BATCH = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pages_argument(parser)
    parser.add_argument("--batches", type=int, default=12, help="batches of 4 images to time (default: %(default)s)")
    parser.add_argument(
        "--calibration", type=int, default=200, help="training pages that calibrate INT8 (default: %(default)s)"
    )
    add_timing_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    calibration = list_images(arguments.pages, "train")[: arguments.calibration]
    detectors = load_detectors(calibration, replace(EVALUATION_CONFIG, device="cpu"))
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


def draw_inputs(paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """Return the inputs of the network for page images."""
    inputs: list[NDArray[np.uint8]] = []
    detector = Detector(load_network(WEIGHTS), replace(EVALUATION_CONFIG, streams=1, device="cpu"))
    with detector.lend_engine() as engine:
        network = cast(TorchEngine, engine).network
    hook = network.register_forward_pre_hook(
        lambda _, given: inputs.append((given[0] * 255).round().byte().permute(0, 2, 3, 1).numpy())
    )
    detect_pages(paths, detector)
    hook.remove()
    return inputs


def load_detectors(calibration: Sequence[Path], config: DetectorConfig) -> dict[str, Detector]:
    """Return detectors with the default weights, one for each runtime, by name."""
    detectors = {str(runtime): Detector(load_network(WEIGHTS), config, runtime=runtime) for runtime in RUNTIMES}
    if find_spec("nncf"):
        detectors[QUANTIZED] = Detector(load_network(WEIGHTS), config, runtime=REDUCED)
        with detectors[QUANTIZED].lend_engine() as engine:
            network = cast(OpenVinoNetwork, engine)
        network.model = quantize(network.model, draw_inputs(calibration))
        network.compile(torch.bfloat16)
    return detectors


def quantize(model: Any, inputs: Sequence[NDArray[np.uint8]]) -> Any:
    """Return a model in INT8. It still decodes boxes in floating point."""
    with redirect_stdout(sys.stderr):  # nncf prints its progress
        import nncf

        return nncf.quantize(
            model,
            nncf.Dataset(list(inputs)),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(types=["Sigmoid"], patterns=[".*dfl.*"], validate=False),
        )
