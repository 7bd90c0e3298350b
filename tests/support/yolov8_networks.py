"""Small untrained networks of ultralytics, saved as it saves checkpoints."""

from pathlib import Path

import torch
import yaml
from ultralytics import __file__ as package
from ultralytics.nn.tasks import DetectionModel


def make_yolo() -> DetectionModel:
    """Return a YOLOv8 of a sixteenth of the width, for three classes."""
    description = yaml.safe_load((Path(package).parent / "cfg/models/v8/yolov8.yaml").read_text())
    torch.manual_seed(0)
    network = DetectionModel(description | {"scales": {"n": [0.33, 0.0625, 64]}, "scale": "n"}, nc=3, verbose=False)
    network.names = {0: "initial", 1: "illustration", 2: "ornament"}
    return network


def save_checkpoint(path: Path, network: torch.nn.Module) -> Path:
    """Save a network."""
    torch.save({"epoch": -1, "ema": None, "model": network.half(), "train_args": {}}, path)
    return path
