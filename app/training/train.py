"""Training of detection weights: from any of the store's, on the pages of a data set.

    config = TrainingConfig(epochs=50)
    train(Path("models/illustrations.pt"), dataset, folder, config, watch)
    save_weights(folder, Path("models/mine.pt"), config)

What a training has learned lies in its folder after every epoch: called again, it goes on from there.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.detection.weights import isolate_ultralytics, load_checkpoint, load_network
from app.errors import TrainingError, WeightsError
from app.storage import write_atomic
from app.training.datasets import Dataset

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

    from app.training.trainer import Watch

# At 16 pages a step, for weights that know pages already. Ultralytics' own choice, 0.002 without the warm-up of
# ``HeldTrainer``, undid in 16 steps what they knew: AP50 from 1.00 to 0.02 on 35 pages.
LEARNING_RATE = 0.0007
# The sizes of YOLOv5 by the channels of its first layer.
_YOLOV5_SIZES: Mapping[int, str] = {16: "n", 32: "s", 48: "m", 64: "l", 80: "x"}


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; all else is as ultralytics has it.

    Attributes:
        epochs: Times that every page is seen.
        size: Longer side of the network's input, in pixels.
        batch_size: Pages a step.
        device: ``cuda``, ``cuda:1``, ``cpu``; empty for the GPU when there is one.
        seed: Of everything that is drawn by lot.
    """

    epochs: int
    size: int = 640
    batch_size: int = 16
    device: str = ""
    seed: int = 0


def train(start: Path, dataset: Dataset, folder: Path, config: TrainingConfig, watch: "Watch") -> None:
    """Train on ``train`` of a data set, look at ``val`` after every epoch, and keep the best and the last in a folder.

    Args:
        start: Weights whose parameters are started from; not read when the training goes on. A YOLOv5 becomes a network
            with ultralytics' head without anchors: backbone and neck are its own, the head is new.
        dataset: With both splits.
        folder: Of this training: what was learned there before an interruption is not learned again.
        config: How to train.
        watch: Told how far it is; ends it by raising.

    Raises:
        WeightsError: The weights cannot be loaded, or not be trained on.
        TrainingError: The device's memory does not suffice.
    """
    import torch

    isolate_ultralytics()
    from ultralytics.nn.tasks import RTDETRDetectionModel

    from app.training.trainer import TransformerTrainer, YoloTrainer

    learned = count_epochs(folder)
    if learned >= config.epochs:
        return
    network = load_network(_last(folder) if learned else start)
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    overrides = _build_overrides(config, device, folder)
    if learned:
        overrides["resume"] = str(_last(folder))
    kind = TransformerTrainer if isinstance(network, RTDETRDetectionModel) else YoloTrainer
    try:
        kind(network, find_architecture(network), dataset, watch, overrides).train()
    except torch.OutOfMemoryError as error:
        advice = f"set TRAINING_BATCH_SIZE below {config.batch_size}, or train smaller weights"
        raise TrainingError(f"The memory of the GPU does not suffice for this training: {advice}.") from error


def count_epochs(folder: Path) -> int:
    """Return how many epochs a training has behind it."""
    return load_checkpoint(_last(folder))["epoch"] + 1 if _last(folder).exists() else 0


def save_weights(folder: Path, path: Path, config: TrainingConfig) -> None:
    """Write the best weights of a training as a file for the model store: in half precision, and nothing else with it.

    Ultralytics' own checkpoint would carry the paths of this server. Called again, it writes the same bytes: a training
    that is interrupted now is still published once.
    """
    import torch
    import ultralytics

    best = folder / "weights" / "best.pt"
    learned = load_checkpoint(best if best.exists() else _last(folder))
    network = learned["ema"]
    network.args = {"task": "detect", "imgsz": config.size}
    content = BytesIO()
    record = {
        "epoch": -1,
        "model": network.half().requires_grad_(False),
        "ema": None,
        "optimizer": None,
        "train_args": {**network.args, "epochs": config.epochs, "batch": config.batch_size, "seed": config.seed},
        "date": datetime.fromisoformat(learned["date"]).astimezone(UTC).isoformat(timespec="seconds"),
        "version": ultralytics.__version__,
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
    }
    torch.save(record, content)
    write_atomic(path, content.getvalue())


def find_architecture(network: "BaseModel") -> dict[str, Any] | str:
    """Return what a network is built from: ultralytics' description, or for a YOLOv5 the name of its YAML file.

    Raises:
        WeightsError: It is a YOLOv5 of a size that its repository does not have.
    """
    import torch

    description: dict[str, Any] | None = getattr(network, "yaml", None)
    if description:
        return description
    size = _YOLOV5_SIZES.get(next(network.parameters()).shape[0])
    if size is None:
        sizes = ", ".join(_YOLOV5_SIZES.values())
        raise WeightsError(f"Training cannot start from this YOLOv5: it is of none of the sizes {sizes}.")
    return f"yolov5{size}{'-p6' if torch.as_tensor(network.stride).numel() == 4 else ''}.yaml"


def _last(folder: Path) -> Path:
    return folder / "weights" / "last.pt"


def _build_overrides(config: TrainingConfig, device: Any, folder: Path) -> dict[str, Any]:
    import torch

    on_gpu = device.type == "cuda"
    # Half precision by float16 would make ultralytics try it on a picture and weights that it downloads.
    half = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "model": "start.yaml",  # not read: the trainer is given the network
        "epochs": config.epochs,
        "imgsz": config.size,
        "batch": config.batch_size,
        "nbs": config.batch_size,  # a step after every batch: small data sets have few
        "device": str(device.index or 0) if on_gpu else "cpu",
        "seed": config.seed,
        "save_dir": str(folder),
        "workers": min(8, (os.cpu_count() or 1) - 1) if on_gpu else 0,
        "amp": "bf16" if half else False,
        "patience": 0,
        "optimizer": "AdamW",
        "lr0": LEARNING_RATE * (config.batch_size / 16) ** 0.5,
        "warmup_bias_lr": 0.0,
        "cos_lr": True,
        # A mosaic of four pages is no page: fewer than ultralytics makes, and none at the end.
        "mosaic": 0.5,
        "close_mosaic": max(1, config.epochs // 4),
        "plots": False,
        "verbose": False,
    }
