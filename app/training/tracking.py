"""Tracking: a training run is written down at Comet (https://www.comet.com) too, where its settings ask for it.

    tracker = open_tracker(settings.comet_api_key, settings.comet_project_name, "eida on pages", job_folder)
    tracker.begin({"epochs": 50})
    tracker.record_epoch(1, {"val/ap50": 0.7})
    tracker.end()

Without both the key and the project nothing is sent, and nothing imported. With them, a thread sends beside the
training, which never waits for it but for some seconds at the end: whatever goes wrong is said once in the log.
"""

import contextlib
import contextvars
import json
import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from app.storage import write_atomic

if TYPE_CHECKING:
    from app.training.comet import CometClient

log = logging.getLogger(__name__)

# The experiment of a job, in its folder: after an interruption the same goes on.
KEY_FILE = "comet.json"
# That the end of a training waits for what is still to be sent.
PATIENCE = 10.0

# What is written of an experiment, and the fields of it.
Message = tuple[str, Mapping[str, Any]]


class Tracker(Protocol):
    """Who is told of a training run. No method raises, or takes long."""

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
    from app.training.comet import CometClient

    return CometTracker(CometClient(api_key, url), CometRun(workspace, project, run_name, folder / KEY_FILE))


class _NoTracker:
    def begin(self, parameters: Mapping[str, Any]) -> None:
        pass

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        pass

    def end(self, outcome: str = "done") -> None:
        pass


@dataclass(frozen=True)
class CometRun:
    """Where a training run belongs at Comet, and the file that remembers its experiment."""

    workspace: str
    project: str
    name: str
    file: Path


class CometTracker:
    """Sends a training run to Comet, from a thread of its own.

    What cannot be sent now is tried again with what comes next, and dropped at the end; after a refusal nothing more
    is sent. Either is said once in the log.

    Args:
        client: Of Comet.
        run: The training run.
        patience: Seconds that the end waits for what is still to be sent.
    """

    def __init__(self, client: "CometClient", run: CometRun, patience: float = PATIENCE) -> None:
        self._client = client
        self._run = run
        self._patience = patience
        self._outgoing: queue.SimpleQueue[list[Message] | None] = queue.SimpleQueue()
        self._experiment = ""
        self._warned = False
        # The lines of the log belong to the job of whoever trains.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="comet", daemon=True)

    def begin(self, parameters: Mapping[str, Any]) -> None:
        self._put(
            [("parameter", {"parameterName": name, "parameterValue": str(value)}) for name, value in parameters.items()]
        )

    def record_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        # JSON knows no number that is none.
        told = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        place = {"step": epoch, "epoch": epoch}
        self._put([("metric", {"metricName": name, "metricValue": value, **place}) for name, value in told.items()])

    def end(self, outcome: str = "done") -> None:
        self._put([("log-other", {"key": "outcome", "value": outcome})])
        self._outgoing.put(None)
        self._thread.join(self._patience)

    def _put(self, messages: list[Message]) -> None:
        if self._thread.ident is None:
            self._thread.start()
        self._outgoing.put(messages)

    def _work(self) -> None:
        from app.training.comet import CometRefused, CometUnreachable

        waiting: deque[Message] = deque()
        try:
            while (messages := self._outgoing.get()) is not None:
                waiting.extend(messages)
                try:
                    self._send(waiting)
                except CometUnreachable as error:
                    self._warn(f"{error} It is tried again with the next epoch.")
        except CometRefused as error:
            self._warn(f"{error} Nothing more of it is sent.")
        except Exception:
            log.exception("This training is not tracked any further.")
        finally:
            self._client.close()

    def _send(self, waiting: "deque[Message]") -> None:
        """Send what waits, in its order."""
        self._experiment = self._experiment or self._find_experiment()
        while waiting:
            kind, fields = waiting[0]
            self._client.write(kind, self._experiment, fields)
            waiting.popleft()

    def _find_experiment(self) -> str:
        """Return the key of this run's experiment: that of before an interruption, or a new one."""
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
