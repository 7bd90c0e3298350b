"""The steps of a training job, in this order:

    1. evaluate_splits    compute the metrics of the start weights on the validation and test pages
    2. run_training       train epoch by epoch; can be interrupted after each epoch and resumed
    3. finish_weights     choose on the validation pages whether the new weights are averaged with the start weights,
                          and calibrate the confidences
    4. evaluate_splits    compute the metrics of the new weights on the same pages

In: a data set in the job's folder, start weights. Out: new weights, ``history.jsonl``, curves, metrics, pictures.
``publishing`` then copies the weights to the models folder.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from app.detection.detector import Detector, DetectorConfig
from app.detection.weights import load_network
from app.storage import JobFolder
from app.training.averaging import choose_share
from app.training.calibration import fit_calibration
from app.training.comet import Tracker
from app.training.curves import draw_history
from app.training.datasets import Dataset, load_dataset
from app.training.evaluate import detect_pages, evaluate, match_classes
from app.training.history import EpochRecord, append_epoch, has_settled, load_history
from app.training.labelled_page import LabelledPage
from app.training.metrics import Evaluation, evaluate_pages
from app.training.train import TrainingConfig, count_epochs, list_shares, save_weights, train

log = logging.getLogger(__name__)

# Interval between two heartbeats.
HEARTBEAT_SECONDS = 1.0


class TrainingMonitor(Protocol):
    """Monitor of a training, on behalf of its job. An exception raised by a method stops the training."""

    def heartbeat(self) -> None:
        """Called about every second, between two batches."""

    def report(self, epochs: int, record: Mapping[str, Any]) -> None:
        """Called with the number of finished epochs and new values of the job's record."""

    def should_yield(self) -> bool:
        """Return whether the training must stop at its last checkpoint, because other jobs wait."""


class _TrainingYielded(Exception):
    """The training stopped so that other jobs can run; it will be resumed."""


class _TrainingSettled(Exception):
    """The training ends before its last epoch, because it has not become better for long."""


class _JobObserver:
    """``TrainingObserver`` that saves each epoch in the job's folder and reports to the monitor."""

    def __init__(self, folder: JobFolder, monitor: TrainingMonitor, tracker: Tracker, patience: int) -> None:
        self._folder, self._monitor, self._tracker, self._patience = folder, monitor, tracker, patience
        self._last_heartbeat, self._is_new_epoch = time.monotonic(), False

    def tick(self) -> None:
        if time.monotonic() - self._last_heartbeat >= HEARTBEAT_SECONDS:
            self._monitor.heartbeat()
            self._last_heartbeat = time.monotonic()
        # Not in record_epoch: when it is called, the checkpoint of the epoch is not yet written.
        if self._is_new_epoch:
            self.check()
            if self._monitor.should_yield():
                raise _TrainingYielded
        self._is_new_epoch = False

    def check(self) -> None:
        """Raise :class:`_TrainingSettled` if further epochs are not worth their time."""
        if has_settled(load_history(self._folder.history), self._patience):
            log.info("the training ends early: its last %d epochs brought nothing better", self._patience)
            raise _TrainingSettled

    def record_epoch(self, record: EpochRecord) -> None:
        append_epoch(self._folder.history, record)
        draw_history(load_history(self._folder.history), self._folder.results / "training.png")
        self._tracker.record_epoch(record.epoch, record.figures)
        self._monitor.report(record.epoch, {"last_epoch": record.as_json()})
        self._is_new_epoch = True


def run_training(
    folder: JobFolder, start: Path, config: TrainingConfig, monitor: TrainingMonitor, tracker: Tracker
) -> bool:
    """Train on the job's data set, from the last checkpoint if there is one.

    Args:
        folder: Folder of the job, with its data set.
        start: Start weights; not read if there is a checkpoint.
        config: Parameters of the training.
        monitor: Monitor that receives the progress.
        tracker: Experiment tracker of this run.

    Returns:
        Whether the training is complete; False if it yielded to other jobs and must be resumed.
    """
    finished = count_epochs(folder.training)
    if not finished:  # an existing history belongs to an earlier try
        folder.history.unlink(missing_ok=True)
    monitor.report(finished, {} if finished else {"last_epoch": None})
    observer, dataset = _JobObserver(folder, monitor, tracker, config.patience), load_dataset(folder.dataset)
    tracker.begin({"dataset": dataset.name, **asdict(config)})
    outcome = "interrupted"
    try:
        with suppress(_TrainingSettled):
            observer.check()
            train(start, dataset, folder.training, config, observer)
        outcome = "done"
    except _TrainingYielded:
        return False
    finally:
        tracker.end(outcome)
    save_weights(folder.training, folder.weights, config)
    return True


def finish_weights(
    folder: JobFolder, training: TrainingConfig, config: DetectorConfig, heartbeat: Callable[[], None]
) -> float:
    """Write the weights with the share and the calibration that fit the ``val`` pages best; return the share.

    Args:
        folder: Folder of the job.
        training: Parameters of the training.
        config: Settings of the evaluation.
        heartbeat: Called after every batch.
    """
    dataset = load_dataset(folder.dataset)

    def detect(share: float) -> list[LabelledPage]:
        save_weights(folder.training, folder.weights, training, share)
        detector = Detector(load_network(folder.weights), config)
        class_map = match_classes(detector.class_names, dataset.classes)
        return detect_pages(detector, dataset.list_pages("val"), class_map, lambda *_: heartbeat())[0]

    pages = {share: detect(share) for share in list_shares(folder.training)}
    figures = {share: evaluate_pages(each, dataset.classes, 0.25).overall for share, each in pages.items()}
    share = choose_share({share: each.ap50_95 for share, each in figures.items()}, figures[1.0].illustrations)
    save_weights(folder.training, folder.weights, training, share, fit_calibration(pages[share]))
    return share


def evaluate_splits(
    dataset: Dataset, weights: Path, out: Path, config: DetectorConfig, confidence: float, heartbeat: Callable[[], None]
) -> dict[str, Any]:
    """Evaluate weights on the ``val`` and ``test`` pages of a data set. Return the metrics by split.

    Raises:
        RequestError: If the weights and the data set share no class.
    """
    detector = Detector(load_network(weights), config)
    return {
        split: summarise(evaluate(detector, dataset, split, out / split, lambda *_: heartbeat(), confidence))
        for split in ("val", "test")
        if split in dataset.splits
    }


def summarise(evaluation: Evaluation) -> dict[str, Any]:
    """Return the metrics of an evaluation without its curves."""
    figures = evaluation.as_json()
    figures.pop("curve")
    for each in (figures["overall"], *figures["classes"]):
        each.pop("precision_at_recall")
    return figures
