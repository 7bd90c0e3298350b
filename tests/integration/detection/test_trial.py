import subprocess
from pathlib import Path

import pytest
import torch

from app.config import ROOT
from app.detection import trial
from app.detection.trial import detect_on_test_page, try_weights
from app.errors import Unavailable, WeightsError
from tests.support.checkpoints import make_module, save_records
from tests.support.yolov5_networks import make_network, save


def test_working_weights_pass_and_broken_weights_give_a_reason(tmp_path: Path) -> None:
    try_weights(ROOT / "models" / "illustrations.pt", tmp_path / "ultralytics")
    with pytest.raises(WeightsError, match=r"^x\.pt is not a torch checkpoint, or it is damaged: [^\n]*$"):
        try_weights(save_records(tmp_path / "x.pt", make_module()), tmp_path / "ultralytics")


def test_a_network_that_detects_on_the_test_page_passes(tmp_path: Path) -> None:
    detect_on_test_page(save(tmp_path / "x.pt", model=make_network()))


def test_a_network_whose_layers_do_not_fit_is_refused(tmp_path: Path) -> None:
    network = make_network()
    network.model[1].f = 0
    network.model[2].cv1.conv = torch.nn.Conv2d(7, 8, 1, bias=False)
    with pytest.raises(WeightsError, match=r"^x\.pt loads, but detection on a test page fails: [^\n]*channels[^\n]*$"):
        detect_on_test_page(save(tmp_path / "x.pt", model=network))


def test_a_trial_that_crashes_or_hangs_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = tmp_path / "python"
    monkeypatch.setattr(trial.sys, "executable", str(interpreter))
    interpreter.write_text("#!/bin/sh\nkill -9 $$\n")
    interpreter.chmod(0o755)
    with pytest.raises(WeightsError, match=r"x\.pt crashes the process"):
        try_weights(tmp_path / "x.pt", tmp_path)
    interpreter.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(trial, "SECONDS", 0.2)
    with pytest.raises(Unavailable, match=r"x\.pt could not be tried within 0\.2 seconds"):
        try_weights(tmp_path / "x.pt", tmp_path)


def test_only_one_trial_runs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        with pytest.raises(Unavailable) as caught:
            try_weights(tmp_path / "y.pt", tmp_path)
        refused.append(caught.value.message)
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(trial.subprocess, "run", run)
    try_weights(tmp_path / "x.pt", tmp_path)
    try_weights(tmp_path / "x.pt", tmp_path)
    assert len(refused) == 2
    assert "being tried" in refused[0]
