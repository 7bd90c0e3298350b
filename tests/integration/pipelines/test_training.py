"""The steps of a training, with small networks. A whole training job is tested in test_training_jobs.py."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
import torch

from app.detection.weights import Weights, load_network
from app.pipelines.training import publishing, work
from app.pipelines.training.publishing import publish
from app.pipelines.training.work import finish_weights, run_training
from app.storage import JobFolder
from app.training.averaging import SHARES
from app.training.calibration import Calibration
from app.training.card import TrainingRun
from app.training.comet import open_tracker
from app.training.datasets import load_dataset
from app.training.evaluate import EVALUATION_CONFIG
from app.training.history import load_history
from app.training.train import TrainingConfig, count_epochs, save_weights
from tests.support.drawn_datasets import draw_dataset
from tests.support.small_networks import make_yolo, save_checkpoint

CONFIG = TrainingConfig(epochs=2, size=64, batch_size=4, device="cpu")


class TrainingMonitor:
    """A monitor that never makes the training yield, and collects its reports."""

    def __init__(self) -> None:
        self.reports: list[Mapping[str, Any]] = []

    def heartbeat(self) -> None:
        pass

    def report(self, epochs: int, record: Mapping[str, Any]) -> None:
        self.reports.append(record)

    def should_yield(self) -> bool:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "start.pt", make_yolo())


def draw_job(path: Path) -> JobFolder:
    folder = JobFolder(path)
    draw_dataset(folder.dataset, train=4, val=3)
    return folder


def train(folder: JobFolder, start: Path, config: TrainingConfig = CONFIG) -> TrainingMonitor:
    monitor = TrainingMonitor()
    assert run_training(folder, start, config, monitor, open_tracker("", "", "", folder.path, ""))
    return monitor


def put(folder: JobFolder, models: Path, names: Sequence[str], start: str = "start") -> str:
    run = TrainingRun(start, load_dataset(folder.dataset), 2, 2, 64, 1.0, {}, None, time.time())
    return publish(folder, models, names, run)


def test_a_new_training_reports_no_epochs_of_an_earlier_try(tmp_path: Path, start: Path) -> None:
    folder = draw_job(tmp_path / "job")
    train(folder, start)
    folder.forget_training()
    draw_dataset(folder.dataset, train=4, val=3)
    monitor = train(folder, start, TrainingConfig(epochs=1, size=64, batch_size=4, device="cpu"))
    assert [record.epoch for record in load_history(folder.history)] == [1]
    assert monitor.reports[0] == {"last_epoch": None}


def test_a_training_that_has_settled_ends_early(tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, config = draw_job(tmp_path / "job"), replace(CONFIG, epochs=5)
    monkeypatch.setattr(work, "has_settled", lambda history, patience: len(history) == 2)
    train(folder, start, config)
    assert (len(load_history(folder.history)), count_epochs(folder.training)) == (2, 2)
    assert folder.weights.exists()
    train(folder, start, config)
    assert len(load_history(folder.history)) == 2


def test_the_patience_is_half_of_the_epochs_and_at_least_ten() -> None:
    assert [replace(CONFIG, epochs=epochs).patience for epochs in (2, 50, 100)] == [10, 25, 50]


def test_weights_that_are_written_again_are_published_once(tmp_path: Path, start: Path) -> None:
    folder, models = draw_job(tmp_path / "job"), tmp_path / "models"
    models.mkdir()
    train(folder, start)
    assert put(folder, models, ["mine.pt", "mine_job.pt"]) == "mine.pt"
    before = Weights.at(models / "mine.pt")
    time.sleep(1.1)  # the next second, so that a date in the file would differ
    save_weights(folder.training, folder.weights, CONFIG)
    assert put(folder, models, ["mine.pt", "mine_job.pt"]) == "mine.pt"
    assert Weights.at(models / "mine.pt") == before
    assert sorted(path.name for path in models.iterdir()) == [".lock", "mine.md", "mine.pt"]


def test_weights_that_are_calibrated_again_stay_the_same(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config = draw_job(tmp_path / "job"), replace(EVALUATION_CONFIG, size=64, device="cpu")
    train(folder, start)
    raw = folder.weights.read_bytes()
    monkeypatch.setattr(work, "fit_calibration", lambda pages: Calibration(2.0, 0.5))
    finish_weights(folder, CONFIG, config, lambda: None)
    calibrated = folder.weights.read_bytes()
    assert calibrated != raw
    finish_weights(folder, CONFIG, config, lambda: None)
    assert folder.weights.read_bytes() == calibrated


@pytest.mark.parametrize("class_name", ["illustration", "figure"])
def test_weights_are_averaged_with_start_weights_of_the_same_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, class_name: str
) -> None:
    monkeypatch.setattr("app.training.train.LOW_LEARNING_RATE", 0.5)  # the few steps must change the weights
    start = save_checkpoint(tmp_path / "start.pt", make_yolo(class_name))
    folder, config = draw_job(tmp_path / "job"), replace(EVALUATION_CONFIG, size=64, device="cpu")
    train(folder, start)
    new = load_network(folder.weights).float().state_dict()
    share = finish_weights(folder, CONFIG, config, lambda: None)
    assert share == min(SHARES)  # after two epochs, the accuracy on the pages is the same
    old, averaged = load_network(start).float().state_dict(), load_network(folder.weights)
    assert averaged.names == {0: "illustration"}  # as in the data set
    mean, name = averaged.float().state_dict(), "model.0.conv.weight"  # the calibration changes only the head
    assert not torch.allclose(new[name], old[name], rtol=0, atol=1e-3)
    assert torch.allclose(mean[name], share * new[name] + (1 - share) * old[name], rtol=1e-2, atol=1e-4)


def test_start_weights_with_other_classes_are_not_averaged(tmp_path: Path, start: Path) -> None:
    folder, config = draw_job(tmp_path / "job"), replace(EVALUATION_CONFIG, size=64, device="cpu")
    train(folder, start)
    assert finish_weights(folder, CONFIG, config, lambda: None) == 1


def test_a_job_overwrites_weights_under_its_own_name(tmp_path: Path, start: Path) -> None:
    folder, models = draw_job(tmp_path / "job"), tmp_path / "models"
    models.mkdir()
    (models / "mine_job.pt").write_bytes(b"weights of an earlier try")
    train(folder, start)
    assert put(folder, models, ["mine_job.pt"]) == "mine_job.pt"
    assert Weights.at(models / "mine_job.pt").digest() == Weights.at(folder.weights).digest()


def test_concurrent_trainings_of_one_name_publish_separately(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    folders = [draw_job(tmp_path / name) for name in "ab"]
    for seed, folder in enumerate(folders):
        train(folder, start, TrainingConfig(epochs=1, size=64, batch_size=4, device="cpu", seed=seed))
    together, format_card = Barrier(2), publishing.format_card
    # Without a lock, both trainings would check the free names before one of them writes.
    monkeypatch.setattr(publishing, "format_card", lambda *given: wait(together) or format_card(*given))
    with ThreadPoolExecutor(2) as pool:
        jobs = zip(folders, "ab", strict=True)
        names = list(pool.map(lambda job: put(job[0], models, ["mine.pt", f"mine_{job[1]}.pt"], job[1]), jobs))
    assert "mine.pt" in names
    assert len(set(names)) == 2
    for folder, name, start_name in zip(folders, names, "ab", strict=True):
        assert Weights.at(models / name).digest() == Weights.at(folder.weights).digest()
        assert f"| start weights | {start_name} |" in (models / name).with_suffix(".md").read_text()


def wait(barrier: Barrier) -> None:
    with suppress(BrokenBarrierError):
        barrier.wait(0.5)
