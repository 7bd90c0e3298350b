"""Tracking: what a training reports to Comet (https://www.comet.com) too, where the settings ask for it.

    tracker = open_tracker(settings.comet_api_key, settings.comet_project_name, "eida on pages", job_folder)
    tracker.begin({"epochs": 50})
    tracker.record_epoch(1, {"val/ap50": 0.7})
    tracker.end()

Without both the key and the project nothing is sent, and nothing imported.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

# The experiment of a job, in its folder: after an interruption the same goes on.
KEY_FILE = "comet.json"


class Tracker(Protocol):
    """Who is told of a training run. No method raises, or takes longer than some seconds."""

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Say what is trained, and how. Also after an interruption, when the training goes on."""

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Say what became of an epoch."""

    def end(self, outcome: str = "done") -> None:
        """Say that the training is over, and how it ended."""


def open_tracker(
    api_key: str,
    project: str,
    run_name: str,
    folder: Path,
    workspace: str = "",
    url: str = "",
) -> Tracker:
    """Return the tracker of a training run: one that does nothing unless both key and project are set.

    Args:
        api_key: ``COMET_API_KEY``.
        project: ``COMET_PROJECT_NAME``.
        run_name: What Comet shows for this run.
        folder: Of the job.
        workspace: ``COMET_WORKSPACE``; empty for that of the account.
        url: Of a Comet elsewhere; else the address in the key, or comet.com.
    """
    if not api_key or not project:
        return _NoTracker()
    from app.training.comet import CometClient, CometRun, CometTracker

    return CometTracker(CometClient(api_key, url), CometRun(workspace, project, run_name, folder / KEY_FILE))


class _NoTracker:
    def begin(self, parameters: Mapping[str, Any]) -> None:
        pass

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        pass

    def end(self, outcome: str = "done") -> None:
        pass
