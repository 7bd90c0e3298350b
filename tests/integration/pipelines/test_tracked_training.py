from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.pipelines.training.work import run_training
from app.storage import JobFolder
from app.training.comet import open_tracker
from app.training.train import TrainingConfig
from tests.support.comet_server import KEY, Comet
from tests.support.drawn_datasets import draw_dataset
from tests.support.small_networks import make_yolo, save_checkpoint


class TrainingMonitor:
    """A monitor that makes the training yield after every epoch."""

    def heartbeat(self) -> None:
        pass

    def report(self, epochs: int, record: Mapping[str, Any]) -> None:
        pass

    def should_yield(self) -> bool:
        return True


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / "job")
    draw_dataset(folder.dataset, train=4, val=3)
    return folder


def test_comet_gets_every_epoch_of_a_training_that_yields(
    folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comet, start = Comet(), tmp_path / "start.pt"
    save_checkpoint(start, make_yolo())
    config = TrainingConfig(epochs=2, size=64, batch_size=4, device="cpu")
    with comet.open() as url:
        monkeypatch.setattr("app.training.comet.HOME", url)
        runs = 0
        while True:
            runs += 1
            tracker = open_tracker(KEY, "illustrations", "mine", folder.training, "")
            if run_training(folder, start, config, TrainingMonitor(), tracker):
                break
    assert runs == 2
    assert len(comet.experiments) == 1
    assert {epoch for epoch, name, _ in comet.list_metrics() if name == "ap50"} == {1, 2}
    assert {name for _, name, _ in comet.list_metrics()} >= {"train/box_loss", "precision", "recall", "ap50_95"}
    sent = {fields["parameterName"]: fields["parameterValue"] for kind, fields in comet.written if kind == "parameter"}
    assert (sent["dataset"], sent["epochs"]) == ("pages", "2")
    outcomes = [fields["value"] for kind, fields in comet.written if kind == "log-other"]
    assert outcomes == ["interrupted", "done"]
