"""Run each benchmark that uses a whole service, with the smallest possible load."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.demo.service import choose_settings
from bench import politeness, search_speed, soak, submit_latency, whole_comparison, whole_jobs
from bench.__main__ import main
from tests.support.service import Service, open_service

RATE = 50
SMALL_MODEL = "timm:test_vit.r160_in1k"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, small_models: Path) -> Iterator[Service]:
    """A service that suits every benchmark: starting it takes longer than the small loads."""
    settings: dict[str, Any] = {"host_interval_seconds": 1 / RATE, "trusted_hosts": politeness.LOOPBACK}
    with open_service(tmp_path_factory.mktemp("service"), models_folder=small_models, **settings) as service:
        yield service


@pytest.fixture(autouse=True)
def _share_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each benchmark check its settings and use the running service."""

    @contextmanager
    def share(folder: Path, wrapper: Sequence[str] = (), **settings: Any) -> Iterator[Service]:
        choose_settings(folder, **settings)
        yield service

    for module in (politeness, search_speed, soak, submit_latency, whole_comparison, whole_jobs):
        monkeypatch.setattr(module, "open_service", share)


def test_soak_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["soak", "--kills", "1", "--broker-restarts", "1", "--pages", "2", "--under-way", "1"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed
    assert "| worker tree killed | 1 |" in printed
    assert "| results that did not arrive | 0 |" in printed


def test_politeness_counts_requests(capsys: pytest.CaptureFixture[str]) -> None:
    main(["politeness", "--pages", "8", "--rate", str(RATE)])
    printed = capsys.readouterr().out
    assert "8 pages of 4 manifests ({'done': 4})" in printed
    (busiest,) = [line.split(" | ") for line in printed.splitlines() if line.startswith("| most requests within 1 s")]
    assert int(busiest[2].rstrip(" |")) <= RATE + 4
    assert "| requests | – | 20 |" in printed


def test_jobs_are_timed_next_to_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    main(["jobs", "--count", "4", "--small-jobs", "2"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    ways = ["| script: 1000 pixels", *["| service"] * 4, "| floor: bare forward pass", "| service"]
    assert [row[0].split(",")[0] for row in rows] == ways
    assert [row[3] for row in rows] == ["5 |", "9 |", "1 |", "9 |", "1 |", "0 |", "4 |"]


def test_searches_are_timed_alone_and_as_whole_answers(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--images", "60", "--documents", "2", "--rounds", "1", "--model", SMALL_MODEL]
    main(["search", *small])
    rows = [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| search alone, first",
        "| search alone, warm",
        "| floor: bare matrix product",
        "| `POST /search`, first",
        "| `POST /search`, warm",
        "| `POST /search`, warm, `verify=0`",
    ]


def test_a_comparison_is_measured_and_computed_for_more_documents(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    search_speed.save_random_weights(SMALL_MODEL, service.settings.backbones_folder)
    main(["comparison", "--documents", "2", "--images", "3", "--model", SMALL_MODEL])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row[:3] for row in rows] == [["| measured", "2", "3"], ["| computed", "50", "200"]]
    pairs = [int(row[3]) for row in rows]
    # Three pairs of documents become 1275, each with 200 images instead of 3.
    assert pairs[0] > 0
    assert pairs[1] == round(pairs[0] * 1275 / 3 * 200 / 3)


def test_submit_times_each_state_of_the_queue(capsys: pytest.CaptureFixture[str]) -> None:
    """Must be the last test of this file, because it stops the broker."""
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
