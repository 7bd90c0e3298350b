"""Train the default weights: a YOLO nano, on pages of historical documents and on synthetic pages made from them.

The trainer is the one of the service. This recipe has its own data, learning rates and augmentation. The pages are
split by document. Training starts from the parameters of a YOLOv5-nano checkpoint that match by name and shape: in
general the backbone and the neck, but not the head. No code in the checkpoint is run. An interrupted training resumes
in its working folder.

Training does not use the validation documents: the weights are those of the last epoch, not of the best. The validation
documents only determine ``THRESHOLD``, the confidence that is shifted to 0.25.
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.config import ROOT
from app.detection.detector import DetectorConfig
from app.detection.weights import isolate_ultralytics, load_network
from app.training.dataset_records import Dataset
from app.training.history import EpochRecord
from app.training.train import TrainingConfig, find_checkpoint
from app.training.train import train as run_trainer
from bench.labelled_pages import WEIGHTS, add_pages_argument, list_images
from bench.synthesis.sheets import format_labels, load_labels
from bench.synthesis.writing import synthesise

DEFAULT_CONFIDENCE = DetectorConfig.confidence
# At this confidence, before the shift, precision on the validation documents was over 0.9 and recall over 0.8.
THRESHOLD = 0.5
REPEAT = 5  # how often an epoch shows each page with illustrations

# Settings of ultralytics in which this recipe differs from the service.
SETTINGS = {"warmup_epochs": 0.3, "degrees": 2.0, "hsv_s": 0.9, "hsv_v": 0.5, "scale": 0.4}


@dataclass(frozen=True)
class Stage:
    """A stage of the training.

    Attributes:
        synthetic: Number of synthetic pages, drawn for this stage.
        epochs: Number of epochs.
        learning_rate: Learning rate at the start.
        final_rate: Learning rate at the end, as a share of that at the start.
        mosaic: Share of the images that are composed of four pages.
        close_mosaic: Number of epochs at the end without composed images.
        seed: Seed of the synthetic pages and of the training.
        size: Longer side of the network's input, in pixels.
    """

    synthetic: int
    epochs: int
    learning_rate: float
    final_rate: float
    mosaic: float
    close_mosaic: int
    seed: int
    size: int = 640

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Settings of ultralytics for this stage."""
        return SETTINGS | {
            "lr0": self.learning_rate,
            "lrf": self.final_rate,
            "mosaic": self.mosaic,
            "close_mosaic": self.close_mosaic,
        }


STAGES = (
    Stage(2400, epochs=4, learning_rate=0.001, final_rate=0.3, mosaic=0.5, close_mosaic=0, seed=0),
    Stage(1800, epochs=4, learning_rate=0.0008, final_rate=0.01, mosaic=0.4, close_mosaic=1, seed=2),
)


class Printer:
    """Observer of a training that prints its epochs."""

    def tick(self) -> None: ...

    def record_epoch(self, record: EpochRecord) -> None:
        print(f"epoch {record.epoch}: {record.seconds:.0f} s, AP50 {record.ap50:.3f} on the validation documents")


def link_pages(pages: Path, folder: Path) -> Dataset:
    """Link the original pages into the data set of a stage, next to its synthetic pages.

    Training pages with illustrations are linked ``REPEAT`` times. The labels are those of ``load_labels``.

    Args:
        pages: Folder of the original pages.
        folder: Folder of the data set.
    """
    for split in ("train", "val"):
        images, texts = folder / "images" / split, folder / "labels" / split
        for each in (images, texts):
            each.mkdir(parents=True, exist_ok=True)
        for page in list_images(pages, split):
            labels = load_labels(page)
            for number in range(REPEAT if split == "train" and len(labels) else 1):
                link = images / f"{page.stem}_{number}.jpg"
                link.unlink(missing_ok=True)
                link.symlink_to(page)
                (texts / f"{link.stem}.txt").write_text(format_labels(labels))
    return Dataset("default weights", folder, ("illustration",), {}, 0.0)


def save_untrained(path: Path, seed: int) -> Path:
    """Write a network with random parameters, to train from scratch; return the path."""
    isolate_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": DetectionModel("yolov5n.yaml", nc=1, verbose=False)}, path)
    return path


def train(stage: Stage, pages: Path, start: Path | None, folder: Path) -> Path:
    """Run a stage of the training.

    Args:
        stage: Stage to run.
        pages: Folder of the labelled pages.
        start: Weights to start from; None starts from random parameters.
        folder: Working folder of the stage.

    Returns:
        The checkpoint of the last epoch.
    """
    synthesise(pages, folder / "dataset", stage.synthetic, stage.seed)
    dataset = link_pages(pages, folder / "dataset")
    config = TrainingConfig(stage.epochs, stage.size, seed=stage.seed)
    weights = start or save_untrained(folder / "untrained.pt", stage.seed)
    run_trainer(weights, dataset, folder / "training", config, Printer(), stage.recipe)
    return find_checkpoint(folder / "training")


def write_weights(weights: Path, threshold: float, out: Path) -> None:
    """Write weights in half precision, with their confidence shifted so that ``threshold`` becomes 0.25.

    The shift is added to the class bias of the head. Boxes and their order by confidence stay the same.

    Args:
        weights: Trained weights.
        threshold: Confidence that becomes 0.25.
        out: File to write.
    """
    network: Any = load_network(weights)
    shift = math.log(DEFAULT_CONFIDENCE / (1 - DEFAULT_CONFIDENCE)) - math.log(threshold / (1 - threshold))
    for branch in network.model[-1].cv3:
        branch[-1].bias.data += shift
    # Published weights must not contain paths of the machine that trained them.
    network.args = {"imgsz": network.args["imgsz"]}
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": network.half().requires_grad_(False), "train_args": network.args}, out)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pages_argument(parser)
    parser.add_argument("--start", type=Path, help="YOLOv5n checkpoint (default: train from scratch)")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "data" / "training", help="working folder (default: data/training)"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="weights to write (default: the project's)")


def run(arguments: argparse.Namespace) -> None:
    weights = arguments.start
    for number, stage in enumerate(STAGES, 1):
        weights = train(stage, arguments.pages.resolve(), weights, arguments.work.resolve() / f"stage_{number}")
    write_weights(weights, THRESHOLD, arguments.out)
    print(f"written: {arguments.out}")
