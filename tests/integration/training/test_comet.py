import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import ROOT
from app.training.comet import KEY_FILE, Tracker, open_tracker
from tests.support.comet_server import KEY, Comet

AGENT = "extractorAPI/1.0 (contact: me@example.org)"
FIGURES = {"val/ap50": 0.5, "train/box_loss": 1.25}


@pytest.fixture
def comet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Comet]:
    """A fake Comet, at the address that the client uses."""
    comet = Comet()
    with comet.open() as url:
        monkeypatch.setattr("app.training.comet.HOME", url)
        yield comet


def train(tracker: Tracker, *epochs: int) -> None:
    tracker.begin({"epochs": 2, "data": "rectangles"})
    for epoch in epochs:
        tracker.record_epoch(epoch, FIGURES)
    tracker.end()


def test_a_training_is_reported_to_comet(comet: Comet, tmp_path: Path) -> None:
    train(open_tracker(KEY, "illustrations", "eida on rectangles", tmp_path, AGENT), 1, 2)
    assert list(comet.experiments.values()) == [
        {"workspaceName": "my-own", "projectName": "illustrations", "experimentName": "eida on rectangles"}
    ]
    parameters = [fields for kind, fields in comet.written if kind == "parameter"]
    assert {each["parameterName"]: each["parameterValue"] for each in parameters} == {
        "epochs": "2",
        "data": "rectangles",
    }
    assert comet.list_metrics() == [(epoch, name, value) for epoch in (1, 2) for name, value in FIGURES.items()]
    assert comet.written[-1] == ("log-other", {"key": "outcome", "value": "done"})
    assert comet.user_agents == {AGENT}


def test_a_resumed_training_continues_its_experiment(comet: Comet, tmp_path: Path) -> None:
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT), 1)
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT), 2)
    assert len(comet.experiments) == 1
    assert {epoch for epoch, _, _ in comet.list_metrics()} == {1, 2}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"link": "x"}'])
def test_an_unreadable_key_file_starts_a_new_experiment(comet: Comet, tmp_path: Path, content: str) -> None:
    (tmp_path / KEY_FILE).write_text(content)
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT), 1)
    assert json.loads((tmp_path / KEY_FILE).read_text())["experimentKey"] in comet.experiments
    assert KEY not in (tmp_path / KEY_FILE).read_text()


def test_the_workspace_can_be_set(comet: Comet, tmp_path: Path) -> None:
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT, "laboratory"), 1)
    assert comet.experiments["experiment-1"]["workspaceName"] == "laboratory"
    assert "GET /api/rest/v2/account-details" not in comet.asked


def test_metrics_that_are_not_finite_are_left_out(comet: Comet, tmp_path: Path) -> None:
    tracker = open_tracker(KEY, "illustrations", "run", tmp_path, AGENT)
    tracker.record_epoch(1, {"val/ap50": math.nan, "val/loss": math.inf, "val/recall": 0.5})
    tracker.end("cancelled")
    assert comet.list_metrics() == [(1, "val/recall", 0.5)]
    assert comet.written[-1][1]["value"] == "cancelled"


@pytest.mark.parametrize(("key", "project"), [("", ""), (KEY, ""), ("", "illustrations")])
def test_nothing_is_sent_unless_key_and_project_are_set(
    comet: Comet, key: str, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMET_API_KEY", KEY)
    threads = threading.active_count()
    train(open_tracker(key, project, "run", tmp_path, AGENT), 1)
    assert comet.asked == []
    assert threading.active_count() == threads
    assert list(tmp_path.iterdir()) == []


def test_no_large_package_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from app.training.comet import open_tracker;"
        "open_tracker('key', '', 'run', Path(), '').end();"
        "print([name for name in ('comet_ml', 'torch') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_a_permanent_rejection_is_logged_once_and_stops_tracking(
    comet: Comet, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    comet.status = status
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT), 1, 2, 3)
    (warning,) = list_warnings(caplog)
    assert f"answered {status}" in warning
    assert KEY not in caplog.text
    assert len(comet.asked) == 1


def test_a_wrong_key_does_not_fail_the_training(comet: Comet, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(open_tracker("wrong", "illustrations", "run", tmp_path, AGENT), 1)
    assert "COMET_API_KEY" in caplog.text
    assert comet.written == []


def test_unsent_messages_are_retried_after_the_next_epoch(
    comet: Comet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    comet.status = 503
    tracker = open_tracker(KEY, "illustrations", "run", tmp_path, AGENT)
    for epoch in (1, 2):
        tracker.record_epoch(epoch, FIGURES)
    comet.status = 200
    tracker.record_epoch(3, FIGURES)
    tracker.end()
    assert [epoch for epoch, name, _ in comet.list_metrics() if name == "val/ap50"] == [1, 2, 3]
    assert len(list_warnings(caplog)) == 1


def list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_key_that_cannot_be_stored_stops_tracking_only(
    comet: Comet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / KEY_FILE).mkdir()
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT), 1, 2)
    assert comet.written == []
    (warning,) = list_warnings(caplog)
    assert "cannot be stored" in warning


def test_an_unreachable_server_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.comet.HOME", "http://127.0.0.1:9")
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT), 1, 2)
    (warning,) = list_warnings(caplog)
    assert "http://127.0.0.1:9 did not answer" in warning


def test_a_hanging_server_delays_each_epoch_by_one_request(
    comet: Comet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comet.seconds = 5
    monkeypatch.setattr("app.training.comet.SECONDS", 0.2)
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT), 1, 2, 3)
    assert len(comet.asked) == 5  # one request each for the start, three epochs and the end


def test_a_slow_server_delays_each_epoch_by_the_patience(
    comet: Comet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comet.seconds = 0.1
    monkeypatch.setattr("app.training.comet.PATIENCE", 0.09)
    train(open_tracker(KEY, "illustrations", "run", tmp_path, AGENT, "laboratory"), 1)
    # Each call has time for one request; the first call also creates the experiment.
    assert [kind for kind, _ in comet.written] == ["parameter", "parameter", "metric"]
