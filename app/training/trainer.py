"""Trainers of ultralytics, adapted to this service.

They start from any weights of the store and write checkpoints atomically. An observer can stop them after any batch.
They never contact external services, and start no processes: the child of the ``gpu`` worker may not have any.

On a CPU with instructions for bfloat16, a YOLO computes in bfloat16; the parameters, the loss and the boxes stay in
float32. On a GPU, ultralytics uses bfloat16 or float16 (``amp``).
"""

import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from ultralytics.data import base
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.engine import trainer as engine
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.patches import imread
from ultralytics.utils.torch_utils import init_seeds, intersect_dicts

from app.detection.precision import Precision, choose_dtype, compute_in_bfloat16, copy_sharing_weights
from app.detection.streams import count_cores
from app.images.pixels import map_ahead
from app.storage import write_atomic
from app.training.datasets import Dataset
from app.training.history import EpochRecord
from app.training.labelled_page import load_page

WARMUP_STEPS = 100
# Batches that threads prepare at the same time for a GPU.
LOADING_THREADS = 8


class TrainingObserver(Protocol):
    """Observer of a training. An exception raised by a method stops the training."""

    def tick(self) -> None:
        """Called after every training batch and every validation batch."""

    def record_epoch(self, record: EpochRecord) -> None:
        """Called after every epoch, before its checkpoint is written."""


class AtomicPath(type(Path())):  # type: ignore[misc]
    """A path with an atomic ``write_bytes``, so that an interruption never leaves a truncated checkpoint."""

    def write_bytes(self, data: Any) -> int:
        write_atomic(Path(self), data)
        return len(data)


def read_page(filename: str | Path, flags: int = 1) -> NDArray[Any] | None:
    """Return the BGR pixels of a page; None if OpenCV cannot read it.

    Files are read as in detection. OpenCV would ignore transparency, truncate 16-bit samples to 8 bits, and read fewer
    variants of TIFF. For JPEG files it gives the same pixels in less than half the time.
    """
    if Path(filename).suffix == ".jpg":
        return imread(filename, flags)
    return np.ascontiguousarray(load_page(Path(filename), None)[0][..., ::-1])


class ThreadedLoader(InfiniteDataLoader):
    """Loader whose threads prepare the next batches, because processes are not allowed.

    Attributes:
        threads: Number of threads, each of which prepares a batch.
    """

    threads = 1

    def __iter__(self) -> Any:
        repeated: Any = self.batch_sampler  # without end; its sampler yields one epoch
        yield from map_ahead(self._load, repeated.sampler, self.threads)

    def _load(self, indices: list[int]) -> Any:
        return self.collate_fn([self.dataset[index] for index in indices])


def check_float16(network: nn.Module) -> bool:
    """Return whether a GPU computes correctly in float16. Ultralytics' own check downloads an image and weights.

    Some GPUs return NaN (https://github.com/ultralytics/yolov5/issues/7908).
    """
    page = torch.rand(1, 3, 256, 256, device=next(network.parameters()).device)
    with torch.no_grad(), torch.autocast(page.device.type, torch.float16):
        outputs = deepcopy(network).eval()(page)
    return all(bool(tensor.isfinite().all()) for tensor in _list_tensors(outputs))


def _list_tensors(outputs: Any) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _list_tensors(part)]


class ObservedTrainer(BaseTrainer):
    """Mixin for ultralytics trainers; list it first among the bases.

    Args:
        start: Network whose parameters are the start values; parameters that do not fit the new network are ignored.
        architecture: Architecture of the new network: the content of an ultralytics YAML file, or its name.
        dataset: Data set with the splits ``train`` and ``val``.
        observer: Observer of the progress.
        overrides: Settings of ultralytics.
    """

    model: Any
    ema: Any

    def __init__(
        self,
        start: nn.Module,
        architecture: dict[str, Any] | str,
        dataset: Dataset,
        observer: TrainingObserver,
        overrides: dict[str, Any],
    ) -> None:
        self._start, self._architecture, self._dataset, self._observer = start, architecture, dataset, observer
        base.imread = read_page  # used by the data sets of ultralytics
        engine.check_amp = check_float16
        super().__init__(overrides=overrides)
        self.callbacks = {"on_val_batch_end": [lambda validator: observer.tick()]}  # passed on to the validator
        self.last, self.best = AtomicPath(self.last), AtomicPath(self.best)

    def get_dataset(self) -> dict[str, Any]:
        """Return the fields that ultralytics reads from a ``data.yaml``, without its download commands."""
        images, names = self._dataset.folder / "images", dict(enumerate(self._dataset.classes))
        folders = {split: str(images / split) for split in ("train", "val")}
        return {"path": self._dataset.folder, **folders, "names": names, "nc": len(names), "channels": 3}

    def setup_model(self) -> Any:
        if self.resume:
            checkpoint = super().setup_model()
            # Otherwise the resumed epochs would repeat the page order and the augmentations of the first epochs.
            init_seeds(self.args.seed + 2 + checkpoint["epoch"], deterministic=self.args.deterministic)
            if checkpoint["best_fitness"] == checkpoint["train_metrics"]["fitness"]:
                # best.pt is written after last.pt; the interruption may have come between the two.
                self.best.write_bytes(self.last.read_bytes())
            return checkpoint
        model = self.get_model(deepcopy(self._architecture), verbose=False)
        kept = intersect_dicts(self._start.state_dict(), model.state_dict())
        model.load_state_dict(kept, strict=False)
        self.model = model
        return None

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.device.type == "cpu":
            torch.set_num_threads(count_cores())  # ultralytics leaves one core idle
            for network in (self.model, self.ema.ema):
                network.to(memory_format=torch.channels_last)
        if self.computes_bfloat16:
            # After the moving average was copied from the model: what is patched cannot be saved.
            compute_in_bfloat16(self.model)

    @property
    def computes_bfloat16(self) -> bool:
        """Whether this trainer computes in bfloat16 on the CPU."""
        return False

    def get_validator(self) -> Any:
        validator = super().get_validator()
        if self.computes_bfloat16:
            validator.get_model = lambda *_: compute_in_bfloat16(copy_sharing_weights(self.ema.ema))
        return validator

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        loader.__class__ = ThreadedLoader  # ultralytics has no parameter for the class
        # Images that are not cached share a buffer, which only one thread may use.
        if self.device.type == "cuda" and loader.dataset.cache == "ram":
            loader.threads = min(LOADING_THREADS, count_cores())
        return loader

    def _get_warmup_iterations(self, num_batches: int) -> int:
        """Return the number of warm-up steps, at least ``WARMUP_STEPS`` as in YOLOv5, even if an epoch has few.

        AdamW's first steps are as large as later ones, but their direction is still unreliable.
        """
        return max(round(self.args.warmup_epochs * num_batches), WARMUP_STEPS)

    def run_callbacks(self, event: str) -> None:
        """Notify the observer. Ultralytics' own callbacks report to external services and are not called."""
        if event == "on_train_batch_end":
            self._observer.tick()
        elif event == "on_train_epoch_start":
            self._oom_retries = 3  # ``train`` halves the batch, in every epoch and without a limit

    def save_metrics(self, metrics: dict[str, float]) -> None:
        seconds = time.time() - self.epoch_time_start
        losses = {name: float(value) for name, value in metrics.items() if name.startswith(("train/", "val/"))}
        names = ("precision", "recall", "mAP50", "mAP50-95")
        figures = [float(metrics[f"metrics/{name}(B)"]) for name in names]
        self._observer.record_epoch(EpochRecord(self.epoch + 1, round(seconds, 1), losses, *figures))

    def final_eval(self) -> None:
        """Do nothing: ultralytics would strip the last checkpoint, and the training could not resume from it."""


class YoloTrainer(ObservedTrainer, DetectionTrainer):
    """Trains a YOLO."""

    @property
    def computes_bfloat16(self) -> bool:
        return choose_dtype(Precision.AUTO, self.device) is torch.bfloat16


class TransformerTrainer(ObservedTrainer, RTDETRTrainer):
    """Trains an RT-DETR."""
