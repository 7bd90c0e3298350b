"""Seconds of an epoch of training: this project, ultralytics' own trainer, and the floor.

Each way trains two epochs from the same weights, and the second epoch counts, with its validation. The floor is the
bare work of the network on ready tensors: forward and backward passes for the training pages, forward passes for the
validation pages, in the number format of this project.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from app.detection.precision import Precision, choose_dtype, compute_in_bfloat16
from app.detection.streams import choose_device, count_cores
from app.detection.weights import isolate_ultralytics, load_network
from app.training.dataset_records import Dataset
from app.training.history import EpochRecord
from app.training.train import TrainingConfig, train
from bench.labelled_pages import add_pages_argument, add_weights_argument, list_images
from bench.tables import describe_machine
from bench.timing import QUIET, Timings, print_speeds

EPOCHS = 2
OURS, LIBRARY, FLOOR = "this project", "library", "floor: bare passes, same format"


class Clock:
    """Observer of a training that keeps the seconds of the last epoch."""

    seconds = 0.0

    def tick(self) -> None: ...

    def record_epoch(self, record: EpochRecord) -> None:
        self.seconds = record.seconds


def link_pages(pages: Path, folder: Path, count: int) -> Dataset:
    """Link the first training and validation pages into a data set."""
    for split in ("train", "val"):
        for image in list_images(pages, split)[:count]:
            label = image.parents[2] / "labels" / split / f"{image.stem}.txt"
            for part, file in (("images", image), ("labels", label)):
                (folder / part / split).mkdir(parents=True, exist_ok=True)
                if file.exists():
                    (folder / part / split / file.name).symlink_to(file)
    return Dataset("pages", folder, ("illustration",), {}, 0.0)


def train_ours(weights: Path, dataset: Dataset, folder: Path, config: TrainingConfig) -> float:
    clock = Clock()
    train(weights, dataset, folder, config, clock)
    return clock.seconds


def train_with_library(weights: Path, dataset: Dataset, folder: Path, config: TrainingConfig) -> float:
    """Train with ultralytics' default settings, but without its automatic mixed precision check, which downloads."""
    from ultralytics.engine import trainer as engine
    from ultralytics.models.yolo.detect import DetectionTrainer

    from app.training.trainer import check_float16

    engine.check_amp = check_float16
    data = folder / "data.yaml"
    folder.mkdir(parents=True)
    splits = "".join(f"{split}: {dataset.folder / 'images' / split}\n" for split in ("train", "val"))
    data.write_text(f"{splits}names: [illustration]\n")
    sizes: dict[str, Any] = {"epochs": config.epochs, "imgsz": config.size, "batch": config.batch_size}
    device = choose_device(config.device)
    sizes |= {"device": config.device or device.type, "amp": device.type == "cuda"}
    trainer = DetectionTrainer(
        overrides={"model": str(weights), "data": str(data), "save_dir": str(folder), "plots": False} | sizes
    )
    trainer.final_eval = lambda: None  # type: ignore[method-assign]
    trainer.train()
    return float(trainer.epoch_time)


def run_bare(weights: Path, dataset: Dataset, config: TrainingConfig) -> float:
    """Return the seconds of the passes of an epoch on random tensors, each page with one box."""
    from ultralytics.cfg import get_cfg

    device = choose_device(config.device)
    network: Any = load_network(weights)
    network.float().train().to(device, memory_format=torch.channels_last)
    network.args = get_cfg()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    if device.type == "cpu" and choose_dtype(Precision.AUTO, device) is torch.bfloat16:
        compute_in_bfloat16(network)
    torch.set_num_threads(count_cores())
    size, count = config.size, config.batch_size
    batch = {
        "img": torch.rand(count, 3, size, size, device=device).contiguous(memory_format=torch.channels_last),
        "batch_idx": torch.arange(count, device=device, dtype=torch.float32),
        "cls": torch.zeros(count, 1, device=device),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]], device=device).repeat(count, 1),
    }
    trained, validated = (len(list_images(dataset.folder, split)) / count for split in ("train", "val"))
    start = time.perf_counter()
    for _ in range(math.ceil(trained)):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, _ = network(batch)
        loss.sum().backward()
    network.eval()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for _ in range(math.ceil(validated)):
            network(batch["img"])
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pages_argument(parser)
    add_weights_argument(parser)
    parser.add_argument("--count", type=int, default=128, help="pages of each split (default: %(default)s)")
    parser.add_argument("--size", type=int, default=640, help="longer side of the network's input, in pixels")
    parser.add_argument("--device", default="", help="cuda or cpu (default: the GPU if there is one)")
    parser.add_argument("--rounds", type=int, default=3, help="number of measured rounds (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    isolate_ultralytics()
    config = TrainingConfig(EPOCHS, arguments.size, device=arguments.device)
    weights = arguments.weights.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = link_pages(arguments.pages, folder / "dataset", arguments.count)
        ways: dict[str, Callable[[Path], float]] = {
            OURS: lambda place: train_ours(weights, dataset, place, config),
            LIBRARY: lambda place: train_with_library(weights, dataset, place, config),
            FLOOR: lambda _: run_bare(weights, dataset, config),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(arguments.rounds):
            for way, measure in ways.items():
                seconds[way].append(measure(folder / f"{way} {number}"))
    print(f"{arguments.count} pages of each split at most, {arguments.size} pixels; {describe_machine()}\n")
    print_speeds(Timings({QUIET: seconds}), None, "s an epoch", FLOOR)
