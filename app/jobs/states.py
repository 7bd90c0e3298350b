"""The states of a job and every allowed change between them.

    queued ─▶ downloading ─▶ running ─▶ delivering ─▶ done
       └───────────┴────────────┴───────────┴─────▶ failed | cancelled

Each of the three states in the middle is the work of one **stage**: a short task that takes the job's id and
nothing else. A job that waits for its next stage already has that stage's state, with nobody's claim on it.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    QUEUED = "queued"
    DOWNLOADING = "downloading"
    RUNNING = "running"
    DELIVERING = "delivering"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (State.QUEUED, State.DOWNLOADING, State.RUNNING, State.DELIVERING)
FINISHED = (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Stage:
    """A part of a job's work: the states it starts from, where it runs, and the state it leads to."""

    state: State
    starts_from: tuple[State, ...]
    leads_to: State
    task: str
    queue: str


DOWNLOAD = Stage(State.DOWNLOADING, (State.QUEUED, State.DOWNLOADING), State.RUNNING, "download", "io")
DETECT = Stage(State.RUNNING, (State.RUNNING,), State.DELIVERING, "detect", "gpu")
DELIVER = Stage(State.DELIVERING, (State.DELIVERING,), State.DONE, "deliver", "post")

STAGES = (DOWNLOAD, DETECT, DELIVER)


def stage_of(state: State) -> Stage | None:
    """Return the stage that takes a job on from a state; None when it is finished."""
    return next((stage for stage in STAGES if state in stage.starts_from), None)
