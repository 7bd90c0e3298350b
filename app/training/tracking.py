"""Optional tracking of training runs at Comet (https://www.comet.com).

    tracker = open_tracker(s.comet_api_key, s.comet_project_name, "eida on pages", job_folder, s.user_agent)
    tracker.begin({"epochs": 50})
    tracker.record_epoch(1, {"val/ap50": 0.7})
    tracker.end()

Nothing is sent or imported unless both the API key and the project are set.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

# File in the job folder with the experiment key, so that a resumed training continues the same experiment.
KEY_FILE = "comet.json"


class Tracker(Protocol):
    """Reports a training run to an external service. No method raises or blocks for more than a few seconds."""

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Report the parameters; called again when a training resumes."""

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Report losses and metrics of an epoch."""

    def end(self, outcome: str = "done") -> None:
        """Report the end of the training and its outcome."""


def open_tracker(
    api_key: str,
    project: str,
    run_name: str,
    folder: Path,
    user_agent: str,
    workspace: str = "",
    ca_bundle: Path | None = None,
) -> Tracker:
    """Return the tracker of a training run; it does nothing unless both the API key and the project are set.

    Args:
        api_key: Value of ``COMET_API_KEY``.
        project: Value of ``COMET_PROJECT_NAME``.
        run_name: Display name of the run at Comet.
        folder: Folder of the job.
        user_agent: Header ``User-Agent`` of the requests.
        workspace: Value of ``COMET_WORKSPACE``; empty for the account's default workspace.
        ca_bundle: Value of ``CA_BUNDLE``.
    """
    if not api_key or not project:
        return _NoTracker()
    from app.training.comet import CometClient, CometRun, CometTracker

    client = CometClient(api_key, user_agent, ca_bundle)
    return CometTracker(client, CometRun(workspace, project, run_name, folder / KEY_FILE))


class _NoTracker:
    def begin(self, parameters: Mapping[str, Any]) -> None:
        pass

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        pass

    def end(self, outcome: str = "done") -> None:
        pass
