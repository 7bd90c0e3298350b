"""Ultralytics' trainers, held to what this service does.

They start from any weights of the store, keep what they have after every epoch whole or not at all, ask between two
batches whether to go on, and call nobody else's service.
"""

import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn
from ultralytics.data import base
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.patches import imread
from ultralytics.utils.torch_utils import init_seeds, intersect_dicts

from app.storage import write_atomic
from app.training.datasets import Dataset
from app.training.history import EpochRecord
from app.training.labelled_page import load_page

WARMUP_STEPS = 100


class Watch(Protocol):
    """Whoever waits for a training. What a method raises ends the training where it is."""

    def tick(self) -> None:
        """Called after every batch, of pages that are learned or only looked at."""

    def record_epoch(self, record: EpochRecord) -> None:
        """Called after every epoch, just before its weights are kept."""


class WholeFile(type(Path())):  # type: ignore[misc]
    """A path whose bytes are written whole or not at all: half a checkpoint is none."""

    def write_bytes(self, data: Any) -> int:
        write_atomic(Path(self), data)
        return len(data)


def read_page(filename: str | Path, flags: int = 1) -> NDArray[Any] | None:
    """Return the pixels (BGR) of a page; None when it cannot be read.

    OpenCV knows fewer kinds of TIFF than Pillow, and cuts pages of 16 bits off to 8 where the detector scales them.
    """
    if Path(filename).suffix not in (".tif", ".png"):
        return imread(filename, flags)
    return np.ascontiguousarray(load_page(Path(filename), None)[0][..., ::-1])


class HeldTrainer(BaseTrainer):
    """Goes before a trainer of ultralytics in the line of inheritance.

    Args:
        start: Network from whose parameters the training starts, as far as they have a place in the new network.
        architecture: Of the new network: what an ultralytics YAML file says, or the name of one.
        dataset: Of which ``train`` is learned, and ``val`` looked at after every epoch.
        watch: Told how far it is.
        overrides: Settings of ultralytics.
    """

    def __init__(
        self,
        start: nn.Module,
        architecture: dict[str, Any] | str,
        dataset: Dataset,
        watch: Watch,
        overrides: dict[str, Any],
    ) -> None:
        self._start, self._architecture, self._dataset, self._watch = start, architecture, dataset, watch
        base.imread = read_page  # for the datasets of ultralytics
        super().__init__(overrides=overrides)
        self.callbacks = {"on_val_batch_end": [lambda validator: watch.tick()]}  # handed on to the validator
        self.last, self.best = WholeFile(self.last), WholeFile(self.best)

    def get_dataset(self) -> dict[str, Any]:
        """Return what ultralytics takes from a ``data.yaml``, without the downloads that such a file may ask for."""
        images, names = self._dataset.folder / "images", dict(enumerate(self._dataset.classes))
        folders = {split: str(images / split) for split in ("train", "val")}
        return {"path": self._dataset.folder, **folders, "names": names, "nc": len(names), "channels": 3}

    def setup_model(self) -> Any:
        if self.resume:
            checkpoint = super().setup_model()
            # Else it would see in the same order and under the same changes what it has just seen.
            init_seeds(self.args.seed + 2 + checkpoint["epoch"], deterministic=self.args.deterministic)
            if checkpoint["best_fitness"] == checkpoint["train_metrics"]["fitness"]:
                # The best is written after the last: an interruption may have come between.
                self.best.write_bytes(self.last.read_bytes())
            return checkpoint
        model = self.get_model(deepcopy(self._architecture), verbose=False)
        kept = intersect_dicts(self._start.state_dict(), model.state_dict())
        model.load_state_dict(kept, strict=False)
        self.model = model
        return None

    def _get_warmup_iterations(self, num_batches: int) -> int:
        """Return the steps till the full learning rate: as YOLOv5 has it, some also when an epoch has few.

        AdamW's first steps are as long as its later ones, and know nothing yet of the direction.
        """
        return max(round(self.args.warmup_epochs * num_batches), WARMUP_STEPS)

    def run_callbacks(self, event: str) -> None:
        """Tell the one who waits; ultralytics' own callbacks, which report to other services, are not called."""
        if event == "on_train_batch_end":
            self._watch.tick()

    def save_metrics(self, metrics: dict[str, float]) -> None:
        seconds = time.time() - self.epoch_time_start
        losses = {name: float(value) for name, value in metrics.items() if name.startswith(("train/", "val/"))}
        names = ("precision", "recall", "mAP50", "mAP50-95")
        figures = [float(metrics[f"metrics/{name}(B)"]) for name in names]
        self._watch.record_epoch(EpochRecord(self.epoch + 1, round(seconds, 1), losses, *figures))

    def final_eval(self) -> None:
        """Leave the last checkpoint with all that is in it: what is interrupted now still goes on from there."""


class YoloTrainer(HeldTrainer, DetectionTrainer):
    """Trains a YOLO."""


class TransformerTrainer(HeldTrainer, RTDETRTrainer):
    """Trains an RT-DETR."""
