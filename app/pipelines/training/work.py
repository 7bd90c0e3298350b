"""The order of work of a training: learn, epoch by epoch; look at what the new weights find. Then: ``publishing``."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from app.detection.detector import Detector, DetectorConfig
from app.detection.weights import load_network
from app.storage import JobFolder
from app.training.curves import draw_history
from app.training.datasets import load_dataset
from app.training.evaluate import evaluate
from app.training.history import EpochRecord, append_epoch, load_history
from app.training.metrics import Evaluation
from app.training.tracking import Tracker
from app.training.train import TrainingConfig, count_epochs, save_weights, train

# So often, in seconds, whoever waits for a training is told that it is at work.
HEARTBEAT_SECONDS = 1.0


class TrainingMonitor(Protocol):
    """Whoever has ordered a training. What the first two methods raise ends it."""

    def heartbeat(self) -> None:
        """Called again and again between two batches."""

    def report(self, epochs: int, record: Mapping[str, Any]) -> None:
        """Called with the number of epochs that are over, and what is known so far."""

    def should_yield(self) -> bool:
        """Tell whether the training is to stop for now, with what it has learned kept, because others wait."""


class _TrainingYielded(Exception):
    """The training stops for now."""


class _TrainingCallbacks:
    """Watches a training for its monitor: what it tells is kept in the job's folder."""

    def __init__(self, folder: JobFolder, monitor: TrainingMonitor, tracker: Tracker) -> None:
        self._folder, self._monitor, self._tracker = folder, monitor, tracker
        self._last_heartbeat, self._is_new_epoch = time.monotonic(), False

    def tick(self) -> None:
        if time.monotonic() - self._last_heartbeat >= HEARTBEAT_SECONDS:
            self._monitor.heartbeat()
            self._last_heartbeat = time.monotonic()
        # Now, and not at the end of the epoch: by now its weights are kept.
        if self._is_new_epoch and self._monitor.should_yield():
            raise _TrainingYielded
        self._is_new_epoch = False

    def record_epoch(self, record: EpochRecord) -> None:
        append_epoch(self._folder.history, record)
        draw_history(load_history(self._folder.history), self._folder.results / "training.png")
        self._tracker.record_epoch(record.epoch, record.figures)
        self._monitor.report(record.epoch, {"last_epoch": record.as_json()})
        self._is_new_epoch = True


def run_training(
    folder: JobFolder, start: Path, config: TrainingConfig, monitor: TrainingMonitor, tracker: Tracker
) -> bool:
    """Train on the job's data set; what was learned before an interruption is not learned again.

    Args:
        folder: The job's own, with its data set.
        start: Weights from which it starts; not read when it goes on.
        config: How to train.
        monitor: Told how far it is.
        tracker: Of the run.

    Returns:
        False when it has given way, and goes on another time.
    """
    learned = count_epochs(folder.training)
    if not learned:  # what is left of an earlier try is not of this one
        folder.history.unlink(missing_ok=True)
    monitor.report(learned, {} if learned else {"last_epoch": None})
    callbacks, dataset = _TrainingCallbacks(folder, monitor, tracker), load_dataset(folder.dataset)
    tracker.begin({"dataset": dataset.name, **asdict(config)})
    outcome = "interrupted"
    try:
        train(start, dataset, folder.training, config, callbacks)
        outcome = "done"
    except _TrainingYielded:
        return False
    finally:
        tracker.end(outcome)
    save_weights(folder.training, folder.weights, config)
    return True


def evaluate_weights(
    folder: JobFolder, config: DetectorConfig, confidence: float, heartbeat: Callable[[], None]
) -> dict[str, Any]:
    """Look at what the new weights find on the pages that were held out, and return the figures by split."""
    dataset, detector = load_dataset(folder.dataset), Detector(load_network(folder.weights), config)

    def report(*_: int) -> None:
        heartbeat()

    return {
        split: summarise(evaluate(detector, dataset, split, folder.results / split, report, confidence))
        for split in ("val", "test")
        if split in dataset.splits
    }


def summarise(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures of an evaluation without its curves."""
    figures = evaluation.as_json()
    figures.pop("curve")
    for each in (figures["overall"], *figures["classes"]):
        each.pop("precision_at_recall")
    return figures
