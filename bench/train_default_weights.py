"""Train the default weights: a YOLO nano, on pages of historical documents and on synthetic pages made from them.

Trainer and augmentation are those of the service; data and learning rates are not. The pages are split by document.
Training starts from the parameters of a YOLOv5-nano checkpoint that match by name and shape: in general the backbone
and the neck, but not the head. No code in the checkpoint is run. An interrupted training resumes in its working folder.

Each stage has its own synthetic pages. The result is the mean of the weights after the stages of ``AVERAGED``: it is
better on documents of other kinds than each of them, see ``app/training/averaging.py``. The weights of a stage are
those of its last epoch, not of the best. The validation documents determine the calibration.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from app.config import ROOT
from app.detection.detector import Detector
from app.detection.voting import BOX_VOTING
from app.detection.weights import isolate_ultralytics, load_network
from app.training.averaging import average
from app.training.calibration import calibrate, fit_calibration
from app.training.dataset_records import Dataset
from app.training.evaluate import EVALUATION_CONFIG
from app.training.history import EpochRecord
from app.training.train import TrainingConfig, find_checkpoint
from app.training.train import train as run_trainer
from bench.accuracy import detect_pages
from bench.labelled_pages import WEIGHTS, list_images
from bench.synthesis.sheets import format_labels, load_labels
from bench.synthesis.writing import synthesise

# How often an epoch shows a page with illustrations. Most of these are title pages of chapbooks, which resemble each
# other; they are shown once.
REPEAT = 3
SHOWN_ONCE = "nls-chapbooks"
# Longer side of the network's input, in pixels. Objects look larger in training, where pages are cut and enlarged, so
# the training images are smaller (Touvron et al., Fixing the train-test resolution discrepancy, 2019).
INPUT_SIZE = 640

# Number of epochs in which the learning rate rises at the start; an epoch has many pages.
WARMUP_EPOCHS = 0.3


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
        size: Longer side of the training images, in pixels.
    """

    synthetic: int
    epochs: int
    learning_rate: float
    final_rate: float
    mosaic: float
    close_mosaic: int
    seed: int
    size: int = 512

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Settings of ultralytics for this stage."""
        return {
            "warmup_epochs": WARMUP_EPOCHS,
            "lr0": self.learning_rate,
            "lrf": self.final_rate,
            "mosaic": self.mosaic,
            "close_mosaic": self.close_mosaic,
        }


STAGES = (
    Stage(1800, epochs=4, learning_rate=0.001, final_rate=0.3, mosaic=0.5, close_mosaic=0, seed=0),
    Stage(1800, epochs=4, learning_rate=0.0008, final_rate=0.02, mosaic=0.4, close_mosaic=1, seed=2),
    Stage(1800, epochs=3, learning_rate=0.0006, final_rate=0.02, mosaic=0.3, close_mosaic=1, seed=10),
    Stage(1800, epochs=3, learning_rate=0.0006, final_rate=0.02, mosaic=0.3, close_mosaic=1, seed=21),
    Stage(1800, epochs=4, learning_rate=0.0006, final_rate=0.02, mosaic=0.3, close_mosaic=1, seed=32),
)
# The stages whose weights are averaged, from 0.
AVERAGED = (1, 2, 3, 4)


class Printer:
    """Observer of a training that prints its epochs."""

    def tick(self) -> None: ...

    def record_epoch(self, record: EpochRecord) -> None:
        print(f"epoch {record.epoch}: {record.seconds:.0f} s, AP50 {record.ap50:.3f} on the validation documents")


def link_pages(folders: Sequence[Path], target: Path) -> Dataset:
    """Link the original pages into the data set of a stage, next to its synthetic pages.

    Training pages with illustrations are linked ``REPEAT`` times. The labels are those of ``load_labels``.

    Args:
        folders: Folders of the original pages.
        target: Folder of the data set.
    """
    for split in ("train", "val"):
        images, texts = target / "images" / split, target / "labels" / split
        for each in (images, texts):
            each.mkdir(parents=True, exist_ok=True)
        for page in (page for folder in folders for page in list_images(folder, split)):
            labels = load_labels(page)
            often = split == "train" and len(labels) and not page.name.startswith(SHOWN_ONCE)
            for number in range(REPEAT if often else 1):
                link = images / f"{page.stem}_{number}.jpg"
                link.unlink(missing_ok=True)
                link.symlink_to(page)
                (texts / f"{link.stem}.txt").write_text(format_labels(labels))
    return Dataset("default weights", target, ("illustration",), {}, 0.0)


def save_untrained(path: Path, seed: int) -> Path:
    """Write a network with random parameters, to train from scratch; return the path."""
    isolate_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": DetectionModel("yolov5n.yaml", nc=1, verbose=False)}, path)
    return path


def train(stage: Stage, pages: Sequence[Path], pictures: Sequence[Path], start: Path | None, folder: Path) -> Path:
    """Run a stage of the training.

    Args:
        stage: Stage to run.
        pages: Folders of the labelled pages.
        pictures: Folders of pictures for the synthetic pages.
        start: Weights to start from; None starts from random parameters.
        folder: Working folder of the stage.

    Returns:
        The checkpoint of the last epoch.
    """
    synthesise(pages, folder / "dataset", stage.synthetic, stage.seed, pictures=pictures)
    dataset = link_pages(pages, folder / "dataset")
    config = TrainingConfig(stage.epochs, stage.size, seed=stage.seed)
    weights = start or save_untrained(folder / "untrained.pt", stage.seed)
    run_trainer(weights, dataset, folder / "training", config, Printer(), stage.recipe)
    return find_checkpoint(folder / "training")


def write_weights(network: Any, pages: Sequence[Path], out: Path) -> None:
    """Calibrate a network on the validation pages and write it, in half precision.

    Args:
        network: Trained network.
        pages: Folders of the labelled pages.
        out: File to write.
    """
    # Published weights must not contain paths of the machine that trained them.
    network.args = {"task": "detect", "imgsz": INPUT_SIZE, BOX_VOTING: True}
    _save(network, out)
    detector = Detector(load_network(out), replace(EVALUATION_CONFIG, size=INPUT_SIZE))
    found = [page for folder in pages for page in detect_pages(list_images(folder, "val"), detector)]
    calibration = fit_calibration(found)
    print(f"calibration: scale {calibration.scale:.3f}, shift {calibration.shift:.3f}")
    calibrate(network.float(), calibration)
    _save(network, out)


def _save(network: Any, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": network.half().requires_grad_(False), "train_args": network.args}, out)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folders with images/{train,val} and labels/{train,val} in YOLO format"
    parser.add_argument("--pages", type=Path, required=True, nargs="+", metavar="DIR", help=text)
    parser.add_argument(
        "--pictures", type=Path, nargs="*", default=[], metavar="DIR", help="folders of clip art for synthetic pages"
    )
    parser.add_argument("--start", type=Path, help="YOLOv5n checkpoint (default: train from scratch)")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "data" / "training", help="working folder (default: data/training)"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="weights to write (default: the project's)")


def run(arguments: argparse.Namespace) -> None:
    pages, pictures = ([folder.resolve() for folder in folders] for folders in (arguments.pages, arguments.pictures))
    weights, trained, work = arguments.start, [], arguments.work.resolve()
    for number, stage in enumerate(STAGES, 1):
        weights = train(stage, pages, pictures, weights, work / f"stage_{number}")
        trained.append(weights)
    networks = [load_network(trained[stage]).float() for stage in AVERAGED]
    write_weights(average(networks, [1 / len(networks)] * len(networks)), pages, arguments.out)
    print(f"written: {arguments.out}")
