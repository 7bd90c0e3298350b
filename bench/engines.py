"""Compare inference engines with the default weights: torch, and OpenVINO in float32, bfloat16 and INT8.

The first table shows the speed of the forward pass alone, with one stream for each core. The second table shows the
accuracy on the validation pages. Training pages calibrate INT8.

OpenVINO compiles a network for one input shape. For the second table, pages are therefore padded to squares.

The packages openvino and nncf are no requirements of the project: run ``venv/bin/pip install openvino nncf`` first.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad

from app.detection.detector import Detector, DetectorConfig
from app.detection.precision import Precision
from app.detection.streams import count_cores
from app.detection.weights import load_network
from app.training.evaluate import EVALUATION_CONFIG
from bench.accuracy import detect_pages
from bench.detection_speed import forward
from bench.labelled_pages import FIGURES, WEIGHTS, add_pages_argument, format_figures, list_images, open_detector
from bench.tables import describe_machine, print_table
from bench.timing import Way, add_timing_arguments, print_speeds, take_turns

PACKAGES = ("openvino", "nncf")
SIZE = EVALUATION_CONFIG.size
SQUARE = (1, 3, SIZE, SIZE)
# Most pages are portrait.
BATCH = (4, 3, SIZE, SIZE * 3 // 4)
FLOOR = "floor: torch, bfloat16, as in jobs"
# Way → (quantized to INT8, format of the other computations).
OPENVINO = {
    "OpenVINO, float32": (False, "f32"),
    "OpenVINO, bfloat16": (False, "bf16"),
    "OpenVINO, INT8": (True, "f32"),
    "OpenVINO, INT8 and bfloat16": (True, "bf16"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pages_argument(parser)
    parser.add_argument("--batches", type=int, default=12, help="batches of 4 images to time (default: %(default)s)")
    parser.add_argument(
        "--calibration", type=int, default=200, help="training pages that calibrate INT8 (default: %(default)s)"
    )
    add_timing_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        sys.exit(f"{' and '.join(missing)} must be installed first: run `venv/bin/pip install {' '.join(PACKAGES)}`.")
    calibration = draw_squares(list_images(arguments.pages, "train")[: arguments.calibration])
    print(f"{arguments.batches} batches of {' × '.join(map(str, BATCH))}, {describe_machine()}\n")
    ways = build_ways(arguments.batches, calibration)
    print_speeds(take_turns(ways, arguments.rounds, arguments.busy), arguments.batches * BATCH[0], "images/s", FLOOR)
    paths = list_images(arguments.pages, "val")
    print(f"\n{len(paths)} pages, confidence {DetectorConfig.confidence}\n")
    networks = compile_networks(SQUARE, calibration)
    print_table(["way", *FIGURES], ([name, *measure(network, paths)] for name, network in networks.items()))


def draw_squares(paths: list[Path]) -> list[torch.Tensor]:
    """Return the inputs of the network for page images, padded to squares."""
    squares = []
    detector = open_detector(WEIGHTS, replace(EVALUATION_CONFIG, streams=1))
    hook = detector.network.register_forward_pre_hook(lambda _, inputs: squares.append(pad_to_square(inputs[0])))
    detect_pages(paths, detector)
    hook.remove()
    return squares


def pad_to_square(batch: torch.Tensor) -> torch.Tensor:
    """Pad a batch on the right and at the bottom, with the grey of the letterbox."""
    height, width = batch.shape[2:]
    return pad(batch, (0, SIZE - width, 0, SIZE - height), value=114 / 255)


def build_ways(batches: int, calibration: Sequence[torch.Tensor]) -> dict[str, Way]:
    """Return the ways to run the network on batches of random images, by name."""
    images = torch.rand(BATCH)
    ways: dict[str, Way] = {}
    for name, precision in (("torch, float32", Precision.FLOAT32), (FLOOR, Precision.BFLOAT16)):
        detector = Detector(load_network(WEIGHTS), DetectorConfig(precision=precision, streams=0, device="cpu"))
        inputs = images.to(detector.dtype).contiguous(memory_format=torch.channels_last)
        ways[name] = partial(forward, detector, [inputs] * batches)
    for name, compiled in compile_networks(BATCH, calibration).items():
        ways[name] = partial(infer, compiled, images, batches)
    return ways


def infer(compiled: Any, images: torch.Tensor, batches: int) -> None:
    """Run a network of OpenVINO on a batch several times, with one request for each stream."""
    from openvino import AsyncInferQueue

    queue = AsyncInferQueue(compiled, count_cores())
    for _ in range(batches):
        queue.start_async(images.numpy())
    queue.wait_all()


def compile_networks(shape: tuple[int, ...], calibration: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Compile the default weights for an input shape, in each format; the squares calibrate INT8."""
    import openvino

    network: Any = load_network(WEIGHTS).fuse(verbose=False).eval()
    network.model[-1].export = True  # returns the decoded boxes only
    example = torch.rand(shape)
    network(example)  # stores the anchors of this shape, which are then constants
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch.jit.trace is deprecated
        model = openvino.convert_model(network, example_input=example, input=shape)
    images, _, height, width = shape
    quantized = quantize(model, [square[..., :height, :width].expand(images, -1, -1, -1) for square in calibration])
    streams = {"NUM_STREAMS": count_cores(), "INFERENCE_NUM_THREADS": count_cores()}
    return {
        name: openvino.compile_model(chosen, "CPU", {"INFERENCE_PRECISION_HINT": hint, **streams})
        for name, (is_int8, hint) in OPENVINO.items()
        for chosen in [quantized if is_int8 else model]
    }


def quantize(model: Any, inputs: list[torch.Tensor]) -> Any:
    """Return a model in INT8. It still decodes boxes in floating point."""
    with redirect_stdout(sys.stderr):  # nncf prints its progress
        import nncf

        return nncf.quantize(
            model,
            nncf.Dataset([each.numpy() for each in inputs]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(types=["Sigmoid"], patterns=[".*dfl.*"], validate=False),
        )


class SquareNetwork(nn.Module):
    """A network of OpenVINO for squares, with the attributes of the network that a detector needs."""

    def __init__(self, compiled: Any, network: Any) -> None:
        super().__init__()
        self.compiled, self.names, self.stride = compiled, network.names, network.stride

    def fuse(self, verbose: bool) -> "SquareNetwork":
        return self

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([self.compiled(each[None].numpy())[0] for each in pad_to_square(batch)]))


def measure(compiled: Any, paths: list[Path]) -> list[str]:
    """Return the values of ``FIGURES`` of a network for squares."""
    network: Any = SquareNetwork(compiled, load_network(WEIGHTS))
    detector = Detector(network, replace(EVALUATION_CONFIG, streams=1, device="cpu"))
    return format_figures(detect_pages(paths, detector), DetectorConfig.confidence)
