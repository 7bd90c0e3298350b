"""Run each benchmark that starts a whole service, with the smallest possible load."""

from pathlib import Path

import pytest

from bench import whole_jobs
from bench.__main__ import main


@pytest.fixture(autouse=True)
def _small_models(monkeypatch: pytest.MonkeyPatch, small_models: Path) -> None:
    """Let the services detect with tiny untrained weights."""
    monkeypatch.setenv("MODELS_FOLDER", str(small_models))


def test_soak_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["soak", "--kills", "1", "--broker-restarts", "1", "--pages", "2", "--under-way", "1"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed
    assert "| worker tree killed | 1 |" in printed
    assert "| results that did not arrive | 0 |" in printed


def test_politeness_counts_requests(capsys: pytest.CaptureFixture[str]) -> None:
    main(["politeness", "--pages", "8", "--rate", "50"])
    printed = capsys.readouterr().out
    assert "8 pages of 4 manifests ({'done': 4})" in printed
    (busiest,) = [line.split(" | ") for line in printed.splitlines() if line.startswith("| most requests within 1 s")]
    assert int(busiest[2].rstrip(" |")) <= 50 + 4
    assert "| requests | – | 20 |" in printed


def test_submit_times_each_state_of_the_queue(capsys: pytest.CaptureFixture[str]) -> None:
    main(["submit", "--queued", "3", "--requests", "8", "--busy", "0"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == [
        "| floor: GET /models",
        "| POST /run_detect, nothing queued",
        "| POST /detect_all of 3 manifests",
        "| POST /run_detect, 3 queued",
        "| POST /run_detect, 3 queued, 8 at a time",
        "| POST /run_detect, the broker hangs",
        "| POST /run_detect, the broker is dead",
    ]
    assert {row[2] for row in rows[:5]} == {"200"}


def test_jobs_are_timed_next_to_a_script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(whole_jobs.SETTINGS, "precision", "float32")  # without the trial of another format
    main(["jobs", "--count", "4", "--small-jobs", "2"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row[0].split(",")[0] for row in rows] == ["| script: 1000 pixels"] + ["| service"] * 5
    assert [row[3] for row in rows] == ["5 |", "9 |", "1 |", "9 |", "1 |", "4 |"]
