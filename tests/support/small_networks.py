"""Small untrained networks of ultralytics, and checkpoints of them."""

from pathlib import Path
from typing import Any

import torch
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

# Few layers, a sixteenth of the width, and one level, so that tests are fast.
LAYERS: dict[str, Any] = {
    "nc": 3,
    "scales": {"n": [0.33, 0.0625, 64]},
    "scale": "n",
    "backbone": [
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 1, "C2f", [128, True]],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, 1, "SPPF", [256, 5]],
    ],
    "head": [[[4], 1, "Detect", ["nc"]]],
}


def make_yolo(*names: str) -> DetectionModel:
    """Return a small network of YOLOv8 modules with some classes, by default three."""
    torch.manual_seed(0)
    names = names or ("initial", "illustration", "ornament")
    network = DetectionModel(LAYERS, nc=len(names), verbose=False)
    network.names = dict(enumerate(names))
    return network


def make_rtdetr() -> RTDETRDetectionModel:
    """Return a small RT-DETR with one class."""
    torch.manual_seed(0)
    layers = {"nc": 1, "scales": {"l": [1.0, 1.0, 1024]}, "scale": "l"}
    layers["backbone"] = [[-1, 1, "Conv", [width, 3, 2]] for width in (8, 16, 16, 16, 16)]
    layers["head"] = [[[2, 3, 4], 1, "RTDETRDecoder", ["nc", 32, 20, 4, 2, 1, 64]]]
    return RTDETRDetectionModel(layers, verbose=False)


def save_checkpoint(path: Path, network: torch.nn.Module, **train_args: object) -> Path:
    """Save a network as a checkpoint of ultralytics."""
    torch.save({"epoch": -1, "ema": None, "model": network.half(), "train_args": train_args}, path)
    return path
