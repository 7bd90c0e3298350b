"""Training of detection weights on a data set, starting from any weights of the store.

    config = TrainingConfig(epochs=50)
    train(Path("models/illustrations.pt"), dataset, folder, config, observer)
    save_weights(folder, Path("models/mine.pt"), config)

A checkpoint is written into the folder after every epoch. When ``train`` is called again, it resumes from there. The
folder also has a copy of the start weights, for the mean of both, see ``averaging.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.detection.voting import BOX_VOTING, needs_nms
from app.detection.weights import isolate_ultralytics, load_checkpoint, load_network
from app.devices import shrink_to_memory
from app.errors import TrainingError, WeightsError
from app.storage import write_atomic
from app.training.averaging import SHARES, average, can_average
from app.training.calibration import Calibration, calibrate
from app.training.class_names import have_same_classes
from app.training.datasets import Dataset

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

    from app.training.trainer import TrainingObserver

# Learning rates for a batch size of 16. Ultralytics' choice, 0.002 without the warm-up of ``ObservedTrainer``,
# destroyed weights that were trained on pages within 16 steps: AP50 fell from 1.00 to 0.02 on 35 pages.
LEARNING_RATE = 0.0007
# For start weights with the classes of the data set. On 48 pages of a new kind, the lower rate reached the same
# accuracy, and AP50 on other kinds fell by 0.06 instead of 0.24.
LOW_LEARNING_RATE = 0.0002
# YOLOv5 sizes by the output channels of the first layer.
_YOLOV5_SIZES: Mapping[int, str] = {16: "n", 32: "s", 48: "m", 64: "l", 80: "x"}


@dataclass(frozen=True)
class TrainingConfig:
    """Training settings; ``_build_overrides`` sets the fixed ones, ultralytics' defaults apply to the rest.

    Attributes:
        epochs: Number of epochs.
        size: Longer side of the network's input, in pixels.
        batch_size: Pages per step.
        device: ``cuda``, ``cuda:1`` or ``cpu``; empty for the GPU if there is one, else the CPU.
        seed: Seed of the random number generators.
    """

    epochs: int
    size: int = 640
    batch_size: int = 16
    device: str = ""
    seed: int = 0

    @property
    def patience(self) -> int:
        """Number of epochs without a better one after which a training ends: half of the epochs, and at least 10."""
        return max(10, self.epochs // 2)


def train(
    start: Path,
    dataset: Dataset,
    folder: Path,
    config: TrainingConfig,
    observer: "TrainingObserver",
    recipe: Mapping[str, Any] | None = None,
) -> None:
    """Train on the split ``train`` and validate on ``val`` after every epoch; keep the best and the last checkpoint.

    Args:
        start: Start weights; not read when the training resumes. A YOLOv5 keeps its backbone and neck, and gets a new
            anchor-free head of ultralytics.
        dataset: Data set with both splits.
        folder: Folder of this training. If it has a checkpoint, the training resumes from it.
        config: Training settings.
        observer: Observer of the progress; if it raises, the training stops.
        recipe: Settings of ultralytics that replace those of the service.

    Raises:
        WeightsError: If the weights cannot be loaded, or training cannot start from them.
        TrainingError: If the loss stays NaN.
        OutOfMemory: If not even a batch of one page fits into the memory of the device.
    """
    import torch

    from app.detection.streams import choose_device

    isolate_ultralytics()
    device = choose_device(config.device)
    overrides = _build_overrides(config, device, folder) | dict(recipe or {})

    def attempt(batch_size: int) -> None:
        # An attempt resumes after the last epoch. ``nbs`` is unchanged: smaller batches are accumulated for each step.
        _train(start, dataset, folder, overrides | {"batch": batch_size}, observer)

    threads = torch.get_num_threads()
    try:
        shrink_to_memory(attempt, config.batch_size, "lower MODEL_SIZE, or train smaller weights")
    finally:
        torch.set_num_threads(threads)


def _train(
    start: Path, dataset: Dataset, folder: Path, overrides: dict[str, Any], observer: "TrainingObserver"
) -> None:
    from ultralytics.nn.tasks import RTDETRDetectionModel

    from app.training.trainer import TransformerTrainer, YoloTrainer

    learned = count_epochs(folder)
    if learned >= overrides["epochs"]:
        return
    network = load_network(find_checkpoint(folder) if learned else start)
    if learned:
        overrides["resume"] = str(find_checkpoint(folder))  # with the learning rate of the first run
    else:
        write_atomic(find_start(folder), start.read_bytes())
        known = have_same_classes(network.names.values(), dataset.classes)
        rate = LOW_LEARNING_RATE if known else LEARNING_RATE
        overrides.setdefault("lr0", rate * (overrides["nbs"] / 16) ** 0.5)
    kind = TransformerTrainer if isinstance(network, RTDETRDetectionModel) else YoloTrainer
    try:
        kind(network, find_architecture(network), dataset, observer, overrides).train()
    except RuntimeError as error:
        if "NaN persisted" not in str(error):
            raise
        advice = "check the labels, or start from other weights"
        raise TrainingError(f"The loss of this training is NaN in every epoch: {advice}.") from error


def count_epochs(folder: Path) -> int:
    """Return the number of completed epochs of a training."""
    return load_checkpoint(find_checkpoint(folder))["epoch"] + 1 if find_checkpoint(folder).exists() else 0


def list_shares(folder: Path) -> Sequence[float]:
    """Return the shares that the new weights may have in :func:`save_weights`; only 1 if the networks differ."""
    start = find_start(folder)
    return SHARES if start.exists() and can_average(load_network(start), _load_best(folder)["ema"]) else (1.0,)


def save_weights(
    folder: Path, path: Path, config: TrainingConfig, share: float = 1.0, calibration: Calibration | None = None
) -> None:
    """Write the weights of the best epoch, or their mean with the start weights, to a file for the model store.

    Optimizer state and paths of this server, which a checkpoint of ultralytics contains, are left out. The bytes are
    the same on every call, so repeating the call after an interruption is safe.

    Args:
        folder: Folder of the training.
        path: File to write, in half precision.
        config: Training settings.
        share: Share of the new weights; the rest are the start weights.
        calibration: Calibration of the confidences, if the kind of network allows it.
    """
    import torch
    import ultralytics

    learned = _load_best(folder)
    network = learned["ema"]
    if share < 1:
        network = average([load_network(find_start(folder)).float(), network.float()], [1 - share, share])
    if calibration:
        calibrate(network, calibration)
    network.args = {"task": "detect", "imgsz": config.size, BOX_VOTING: needs_nms(network)}
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


def _load_best(folder: Path) -> dict[str, Any]:
    best = folder / "weights" / "best.pt"
    return load_checkpoint(best if best.exists() else find_checkpoint(folder))


def find_architecture(network: "BaseModel") -> dict[str, Any] | str:
    """Return the architecture of a network: ultralytics' description, or the name of the YAML file for a YOLOv5.

    Raises:
        WeightsError: If the network is a YOLOv5 of a non-standard size.
    """
    import torch

    description: dict[str, Any] | None = getattr(network, "yaml", None)
    if description:
        return description
    size = _YOLOV5_SIZES.get(next(network.parameters()).shape[0])
    if size is None:
        sizes = ", ".join(_YOLOV5_SIZES.values())
        raise WeightsError(f"Training cannot start from this YOLOv5: its size is none of {sizes}. Use other weights.")
    return f"yolov5{size}{'-p6' if torch.as_tensor(network.stride).numel() == 4 else ''}.yaml"


def find_checkpoint(folder: Path) -> Path:
    """Return the path of the last checkpoint of a training."""
    return folder / "weights" / "last.pt"


def find_start(folder: Path) -> Path:
    """Return the path of the copy of the start weights of a training."""
    return folder / "start.pt"


def _build_overrides(config: TrainingConfig, device: Any, folder: Path) -> dict[str, Any]:
    import torch

    on_gpu = device.type == "cuda"
    bfloat16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "model": "start.yaml",  # required by ultralytics, but not read: the trainer receives the network
        "epochs": config.epochs,
        "imgsz": config.size,
        "batch": config.batch_size,
        "nbs": config.batch_size,  # an optimizer step after every batch, because small data sets have few batches
        "device": str(device.index or 0) if on_gpu else "cpu",
        "seed": config.seed,
        "save_dir": str(folder),
        "workers": 0,  # threads of the trainer instead of processes
        "cache": "ram",  # if the images fit
        "amp": "bf16" if bfloat16 else on_gpu,  # on a CPU, see ``trainer.py``
        "patience": 0,
        "optimizer": "AdamW",
        "warmup_bias_lr": 0.0,
        "cos_lr": True,
        # The default weights were trained with these: pages are nearly upright, and the colours of paper vary much.
        "degrees": 2.0,
        "hsv_s": 0.9,
        "hsv_v": 0.5,
        "scale": 0.4,
        # Mosaics of four pages do not look like pages: use fewer than ultralytics does, and none in the last epochs.
        "mosaic": 0.5,
        "close_mosaic": max(1, config.epochs // 4),
        "plots": False,
        "verbose": False,
    }
