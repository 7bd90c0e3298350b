"""The states of a job, and the stages that lead from one to the next.

    queued ─▶ downloading ─▶ running ─▶ delivering ─▶ done
       └───────────┴────────────┴───────────┴─────▶ failed | cancelled

A stage is the work of one task on one queue. Stage, task and method have the same name: ``download``, ``run`` or
``deliver``. A job that waits for a stage already has the state of that stage (or ``queued``), but no lease.

A *run of a job* is all of its stages, from its submission or a retry to its end. It is not the stage ``run``.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of a job."""

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
    """A part of a job's work.

    Attributes:
        name: Name of the stage and of its task.
        state: State of a job during the stage.
        starts_from: States in which a job waits for the stage.
        leads_to: State after the stage.
        queue: Queue of the workers that run the stage.
    """

    name: str
    state: State
    starts_from: tuple[State, ...]
    leads_to: State
    queue: str


DOWNLOAD = Stage("download", State.DOWNLOADING, (State.QUEUED, State.DOWNLOADING), State.RUNNING, "io")
RUN = Stage("run", State.RUNNING, (State.RUNNING,), State.DELIVERING, "gpu")
DELIVER = Stage("deliver", State.DELIVERING, (State.DELIVERING,), State.DONE, "post")

STAGES = (DOWNLOAD, RUN, DELIVER)
QUEUES = tuple(stage.queue for stage in STAGES)


def stage_of(state: State) -> Stage | None:
    """Return the stage that a job in this state waits for or is in; None for a finished job."""
    return next((stage for stage in STAGES if state in stage.starts_from), None)
