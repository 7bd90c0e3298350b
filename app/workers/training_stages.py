"""Stages of training jobs. A training takes hours, so it yields to waiting jobs after every epoch."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.database.tables import Job
from app.detection.weights import Weights
from app.errors import DatabaseUnavailable, LeaseLost, RequestError
from app.jobs import State
from app.jobs.requests import TrainingRequest
from app.jobs.states import RUN
from app.services import Services

if TYPE_CHECKING:
    from app.training.comet import Tracker

log = logging.getLogger(__name__)

# Seconds after which a training returns to its queue even if no job waits, because each stage has a time limit.
LONGEST_RUN = 3600.0


def download(services: Services, job: Job) -> State | None:
    """Copy the current version of the data set into the job's folder. Later uploads do not change it."""
    request, folder = TrainingRequest.from_json(job.request), services.storage.job(job.id)
    if not folder.dataset.exists():
        dataset = services.datasets.find(job.app_id, request.data)
        request.check_splits(dataset.splits)
        services.datasets.keep(dataset, folder.dataset)
    return None


def run(services: Services, job: Job) -> State | None:
    """Train until the end of the training, or until other jobs wait. At the end, evaluate the new weights."""
    from app.detection.weights import isolate_ultralytics

    request, s, folder = TrainingRequest.from_json(job.request), services.settings, services.storage.job(job.id)
    isolate_ultralytics(s.data_folder / "ultralytics")
    from app.pipelines.training import work as training
    from app.training.datasets import load_dataset
    from app.training.evaluate import EVALUATION_CONFIG
    from app.training.train import TrainingConfig, count_epochs

    start, label = _find_start(services, job)
    services.jobs.record_start(job, label)
    monitor = _JobMonitor(services, job, request.epochs)
    config = TrainingConfig(request.epochs, services.choose_model_size(start), s.training_batch_size, s.device)
    evaluation_config = replace(EVALUATION_CONFIG, size=config.size, batch_size=s.batch_size, device=s.device)
    dataset = load_dataset(folder.dataset)

    def evaluate(weights: Path, out: Path) -> dict[str, Any]:
        return training.evaluate_splits(dataset, weights, out, evaluation_config, s.confidence, monitor.heartbeat)

    if not count_epochs(folder.training):
        with suppress(RequestError):  # the start weights have other classes
            monitor.report(0, {"figures_before": evaluate(start.path, folder.results / "before")})
    if not training.run_training(folder, start.path, config, monitor, _open_tracker(services, job)):
        return State.RUNNING
    share = training.finish_weights(folder, config, evaluation_config, monitor.heartbeat)
    monitor.record(request.epochs, {"figures": evaluate(folder.weights, folder.results), "share": share})
    return None


def _find_start(services: Services, job: Job) -> tuple[Weights, str]:
    """Return the initial weights and their label. For a resumed training: the last checkpoint, and no label."""
    from app.training.train import count_epochs, find_checkpoint

    training = services.storage.job(job.id).training
    if count_epochs(training):
        return Weights.at(find_checkpoint(training)), ""
    weights = services.models.find(job.request["model"])
    return weights, weights.label


def _open_tracker(services: Services, job: Job) -> "Tracker":
    from app.training.comet import open_tracker

    s, name, folder = services.settings, job.request["name"] or job.id, services.storage.job(job.id).path
    key, project = s.comet_api_key, s.comet_project_name
    return open_tracker(key, project, name, folder, s.user_agent, s.comet_workspace, s.ca_bundle)


class _JobMonitor:
    """``TrainingMonitor`` that reports to the row of the job. A database outage does not stop the training."""

    def __init__(self, services: Services, job: Job, epochs: int) -> None:
        self._services, self._job, self._epochs = services, job, epochs
        self._known: dict[str, Any] = dict(job.coverage or {})
        self._began = time.monotonic()
        self._longest_run = min(LONGEST_RUN, 1800 * services.settings.detect_hours)

    def heartbeat(self) -> None:
        with suppress(DatabaseUnavailable):
            self._services.jobs.record_activity(self._job)

    def report(self, epochs: int, record: Mapping[str, Any]) -> None:
        if record.get("last_epoch"):
            log.info("job %s: epoch %d of %d is over", self._job.id, epochs, self._epochs)
        with suppress(DatabaseUnavailable):
            self.record(epochs, record)

    def record(self, epochs: int, record: Mapping[str, Any]) -> None:
        """Record progress like :meth:`report`, but raise the error of a database outage."""
        self._known |= record
        self._services.jobs.record_progress(self._job, epochs, self._epochs, self._known)

    def should_yield(self) -> bool:
        if time.monotonic() - self._began > self._longest_run:
            return True
        with suppress(DatabaseUnavailable):
            return self._services.jobs.scheduler.must_yield(RUN)
        return False


def deliver(services: Services, job: Job) -> State | None:
    """Publish the new weights with their card, and remove the checkpoints and pages of the training."""
    from app.pipelines.training.publishing import publish, withdraw
    from app.training.card import TrainingRun
    from app.training.datasets import load_dataset

    request, s, folder = TrainingRequest.from_json(job.request), services.settings, services.storage.job(job.id)
    known = job.coverage or {}
    if "weights" not in known:  # otherwise an earlier try has published them
        dataset, start = load_dataset(folder.dataset), job.model_label or ""
        size = services.weights_descriptions.describe(Weights.at(folder.weights)).choose_size()
        figures, before = known["figures"], known.get("figures_before")
        epochs = request.epochs, known["last_epoch"]["epoch"]
        run = TrainingRun(start, dataset, *epochs, size, known["share"], figures, before, time.time())
        name = publish(folder, s.models_folder, request.name_weights(start, job.id), run)
        try:
            services.jobs.record_progress(job, request.epochs, request.epochs, known | {"weights": name})
        except LeaseLost:
            if services.jobs.find(job.id).state == State.CANCELLED:  # not taken over by another worker
                withdraw(s.models_folder, name)
            raise
    folder.forget_training()
    return None
