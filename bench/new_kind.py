"""Train on a few pages of a new kind of document as ``POST /train-model`` does, and measure old and new kinds.

The pages of the kind in the split ``train`` of a folder are the data set; every fifth of them is for ``val``. The table
shows the start weights, the weights after the training, and the weights that a job publishes, on the validation pages:
those of this kind, and the others by folder. The start weights must not have seen the kind.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.pipelines.training.work import finish_weights, run_training
from app.storage import JobFolder
from app.training.comet import open_tracker
from app.training.dataset_records import save_dataset
from app.training.datasets import Dataset, Split
from app.training.evaluate import EVALUATION_CONFIG
from app.training.metrics import evaluate_pages
from app.training.train import TrainingConfig
from bench.accuracy import detect_pages
from bench.labelled_pages import add_weights_argument, list_images, open_detector
from bench.synthesis.sheets import format_labels, load_labels
from bench.tables import describe_machine, print_table


class Monitor:
    """``TrainingMonitor`` of a training that nobody else waits for."""

    def heartbeat(self) -> None: ...

    def report(self, epochs: int, record: Mapping[str, Any]) -> None:
        print(f"{epochs} epochs", flush=True)

    def should_yield(self) -> bool:
        return False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folders with images/{train,val} and labels/{train,val} in YOLO format"
    parser.add_argument("--pages", type=Path, required=True, nargs="+", metavar="DIR", help=text)
    parser.add_argument("--kind", required=True, help="beginning of the file names of the new kind")
    parser.add_argument("--count", type=int, default=60, help="pages of the data set (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of the training (default: %(default)s)")
    parser.add_argument("--size", type=int, default=640, help="longer side of the network's input (default: 640)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of pages (default: %(default)s)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="working folder (default: a temporary one)")
    add_weights_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    folders, kind = [folder.resolve() for folder in arguments.pages], arguments.kind
    with nullcontext(arguments.work) if arguments.work else tempfile.TemporaryDirectory() as work:
        folder, trained = JobFolder(Path(work)), Path(work) / "trained.pt"
        pages = [page for each in folders for page in list_images(each, "train") if page.name.startswith(kind)]
        if len(pages) < 2:
            sys.exit(f"Fewer than two training pages have names that begin with {kind}: choose another --kind.")
        random.Random(arguments.seed).shuffle(pages)
        link_dataset(folder.dataset, pages[: arguments.count])
        config = TrainingConfig(arguments.epochs, arguments.size)
        evaluation = replace(EVALUATION_CONFIG, size=arguments.size)
        run_training(folder, arguments.weights.resolve(), config, Monitor(), open_tracker("", "", "", folder.path, ""))
        trained.write_bytes(folder.weights.read_bytes())
        share = finish_weights(folder, config, evaluation, lambda: None)
        known = {"start weights": arguments.weights, "trained": trained, f"published ({share:.0%} new)": folder.weights}
        groups = group_pages(folders, kind)
        rows = [[name, *measure(path, groups, arguments.size)] for name, path in known.items()]
    print(f"\n{min(arguments.count, len(pages))} pages of {kind}, {describe_machine()}\n")
    print_table(["weights", *(f"{name}: {figure}" for name in groups for figure in ("AP50", "AP50-95"))], rows)


def link_dataset(folder: Path, pages: Sequence[Path]) -> None:
    """Link pages into a data set; every fifth is for ``val``."""
    counts = {}
    for split in ("train", "val"):
        chosen = [page for number, page in enumerate(pages) if (number % 5 == 0) == (split == "val")]
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True)
        for page in chosen:
            (folder / "images" / split / page.name).symlink_to(page)
            (folder / "labels" / split / f"{page.stem}.txt").write_text(format_labels(load_labels(page)))
        boxes = [len(load_labels(page)) for page in chosen]
        counts[split] = Split(len(chosen), sum(boxes), boxes.count(0))
    save_dataset(Dataset("new kind", folder, ("illustration",), counts, 0.0))


def group_pages(folders: Sequence[Path], kind: str) -> dict[str, list[Path]]:
    """Return the validation pages of a kind, and the others by the name of their folder."""
    pages = {folder.name: list_images(folder, "val") for folder in folders}
    new = [page for group in pages.values() for page in group if page.name.startswith(kind)]
    others = {
        f"others of {name}": [page for page in group if not page.name.startswith(kind)] for name, group in pages.items()
    }
    return {kind: new} | {name: group for name, group in others.items() if group}


def measure(weights: Path, groups: Mapping[str, Sequence[Path]], size: int) -> list[str]:
    """Return AP50 and AP50-95 of weights on each group of pages."""
    detector, figures = open_detector(weights, replace(EVALUATION_CONFIG, size=size)), []
    for pages in groups.values():
        overall = evaluate_pages(detect_pages(pages, detector), ["illustration"], 0.25).overall
        figures += [f"{value or 0:.3f}" for value in (overall.ap50, overall.ap50_95)]
    return figures
