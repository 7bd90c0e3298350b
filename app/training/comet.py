"""Optional tracking of training runs at Comet (https://www.comet.com).

    tracker = open_tracker(s.comet_api_key, s.comet_project_name, "eida on pages", job_folder, s.user_agent)
    tracker.begin({"epochs": 50})
    tracker.record_epoch(1, {"val/ap50": 0.7})
    tracker.end()

Nothing is sent unless both the API key and the project are set.

This module uses the REST API (https://www.comet.com/docs/v2/api-and-sdk/rest-api/write-endpoints/), not the package
``comet_ml``. On import, that package reports errors to a separate service and patches torch and twenty other packages;
ultralytics also starts it when it is installed. This module sends only what the tracker passes to it.
"""

import contextlib
import json
import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3

from app.net.addresses import AddressGuard
from app.net.transport import Deadline, GuardedSession
from app.storage import write_atomic

log = logging.getLogger(__name__)

HOME = "https://www.comet.com"
# Timeouts in seconds for one request, and for all requests of an epoch. The training is blocked meanwhile.
SECONDS = 5.0
PATIENCE = 10.0
# File in the job folder with the experiment key, so that a resumed training continues the same experiment.
KEY_FILE = "comet.json"

# Temporary client errors: the same request may succeed later.
_TEMPORARY = frozenset({408, 425, 429})


class Tracker(Protocol):
    """Reports a training run to an external service. No method raises or blocks for more than a few seconds."""

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Report the parameters; called again when a training resumes."""

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Report losses and metrics of an epoch."""

    def end(self, outcome: str = "done") -> None:
        """Report the end of the training and its outcome."""


class CometRefused(Exception):
    """Comet rejects the request for good: wrong key, unknown workspace, deleted experiment."""


class CometUnreachable(Exception):
    """Comet did not answer, or asks to retry later."""


class CometClient:
    """Client for writing experiments; not thread-safe.

    Args:
        api_key: API key of a Comet account.
        user_agent: Header ``User-Agent`` of the requests.
        ca_bundle: File with certificate authorities to trust in addition to the public ones.
    """

    def __init__(self, api_key: str, user_agent: str, ca_bundle: Path | None = None) -> None:
        self._headers = {"Authorization": api_key, "User-Agent": user_agent}
        # No client app can choose the address, so it may be private.
        self._session = GuardedSession(AddressGuard(frozenset({str(urlsplit(HOME).hostname)})), ca_bundle)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def create_experiment(self, workspace: str, project: str, name: str) -> dict[str, Any]:
        """Create an experiment; return its ``experimentKey`` and ``link``.

        Args:
            workspace: Name of the workspace; empty for the account's default workspace.
            project: Name of the project; created if it does not exist.
            name: Display name of the experiment.
        """
        workspace = workspace or str(self._ask("GET", "account-details").get("defaultWorkspaceName"))
        fields = {"workspaceName": workspace, "projectName": project, "experimentName": name}
        experiment = self._ask("POST", "write/experiment/create", fields)
        if not experiment.get("experimentKey"):
            raise CometRefused(f"{HOME} did not create an experiment.")
        return experiment

    def write(self, kind: str, experiment: str, fields: Mapping[str, Any]) -> None:
        """Write one record of an experiment; ``kind`` is ``parameter``, ``metric`` or ``log-other``."""
        self._ask("POST", f"write/experiment/{kind}", {"experimentKey": experiment, **fields})

    def _ask(self, method: str, path: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        url = f"{HOME}/api/rest/v2/{path}"
        with Deadline(SECONDS, self._session.transport.abort) as deadline:
            try:
                answer = self._session.request(method, url, json=fields, headers=self._headers, timeout=SECONDS)
                content = answer.json() if answer.ok and answer.content else {}
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise CometUnreachable(f"{HOME} did not answer ({type(error).__name__}).") from error
        status = answer.status_code
        if deadline.expired or status >= 500 or status in _TEMPORARY:
            raise CometUnreachable(f"{HOME} answered {status}.")
        if not 200 <= status < 300:
            advice = "see COMET_API_KEY, COMET_PROJECT_NAME and COMET_WORKSPACE in .env"
            raise CometRefused(f"{HOME} answered {status} to {path}: {advice}.")
        return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class CometRun:
    """The place of a training run at Comet, and the local file that stores its experiment key."""

    workspace: str
    project: str
    name: str
    file: Path


# The kind of a record and its fields.
Message = tuple[str, Mapping[str, Any]]


class CometTracker:
    """Reports a training run to Comet after each epoch.

    Messages that cannot be sent are retried after the next epoch, and dropped when the training ends. After a
    permanent rejection nothing more is sent. Only the first failure is logged.

    Args:
        client: The client for Comet.
        run: The training run.
    """

    def __init__(self, client: CometClient, run: CometRun) -> None:
        self._client = client
        self._run = run
        self._waiting: deque[Message] = deque()
        self._experiment = ""
        self._warned = self._stopped = False

    def begin(self, parameters: Mapping[str, Any]) -> None:
        self._send(
            ("parameter", {"parameterName": name, "parameterValue": str(value)}) for name, value in parameters.items()
        )

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        # JSON cannot represent infinity and NaN.
        finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        place = {"step": epoch, "epoch": epoch}
        self._send(("metric", {"metricName": name, "metricValue": value, **place}) for name, value in finite.items())

    def end(self, outcome: str = "done") -> None:
        self._send([("log-other", {"key": "outcome", "value": outcome})])
        self._client.close()

    def _send(self, messages: Iterable[Message]) -> None:
        """Send the waiting messages, then the new ones. No failure of Comet or of the disk fails the training."""
        self._waiting.extend(messages)
        try:
            self._write_waiting()
        except CometUnreachable as error:
            self._warn(f"{error} The next epoch retries it.")
        except CometRefused as error:
            self._stopped = True
            self._warn(f"{error} Tracking of this training stops.")
        except OSError as error:
            self._stopped = True
            self._warn(f"The key of the experiment cannot be stored ({error}). Tracking of this training stops.")

    def _write_waiting(self) -> None:
        end = time.monotonic() + PATIENCE
        while self._waiting and not self._stopped and time.monotonic() < end:
            self._experiment = self._experiment or self._find_experiment()
            kind, fields = self._waiting[0]
            self._client.write(kind, self._experiment, fields)
            self._waiting.popleft()

    def _find_experiment(self) -> str:
        """Return the key of this run's experiment: the stored one after an interruption, or a new one."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            return str(json.loads(self._run.file.read_bytes())["experimentKey"])
        made = self._client.create_experiment(self._run.workspace, self._run.project, self._run.name)
        kept = {"experimentKey": made["experimentKey"], "link": made.get("link")}
        write_atomic(self._run.file, json.dumps(kept).encode())
        log.info("This training is tracked at %s", kept["link"])
        return str(kept["experimentKey"])

    def _warn(self, sentence: str) -> None:
        if not self._warned:
            log.warning("This training is not tracked: %s", sentence)
        self._warned = True


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
    client = CometClient(api_key, user_agent, ca_bundle)
    return CometTracker(client, CometRun(workspace, project, run_name, folder / KEY_FILE))


class _NoTracker:
    def begin(self, parameters: Mapping[str, Any]) -> None:
        pass

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        pass

    def end(self, outcome: str = "done") -> None:
        pass
