"""Signs of life of the queues: a worker that answers pings and consumes nothing gives none.

Whatever comes through a queue is one, and so is the heartbeat of a job at work: the detector's worker does one thing at
a time, and nothing else comes through while it does. A queue that is idle is sent a canary
(``app/workers/signals.py``).
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import IntegrityError

from app.database.tables import Database, Job, Pulse
from app.jobs.states import STAGES, State, stage_of

QUEUES = tuple(stage.queue for stage in STAGES)
# A process writes the pulse of a queue no more often.
APART_SECONDS = 1.0


class Pulses:
    """When each queue last gave a sign of life.

    Args:
        database: Where pulses are.
        list_served: Returns the queues from which this process takes.
    """

    def __init__(self, database: Database, list_served: Callable[[], Iterable[str]] = lambda: ()) -> None:
        self._database = database
        self._list_served = list_served
        self._written: dict[str, float] = {}

    def record(self, queue: str) -> None:
        """Note that something has come through a queue."""
        now = time.time()
        if abs(now - self._written.get(queue, 0.0)) < APART_SECONDS:
            return
        self._written[queue] = now
        with self._database.session() as session:
            result = session.execute(update(Pulse).where(Pulse.queue == queue).values(at=now))
        if not cast(CursorResult[Any], result).rowcount:
            with suppress(IntegrityError), self._database.session() as session:  # another process was first
                session.add(Pulse(queue=queue, at=now))

    def record_job(self, job: Job) -> None:
        """Note the heartbeat of a job at work as a sign of life of the queues that its process serves."""
        if stage := stage_of(State(job.state)):
            for queue in {stage.queue, *self._list_served()}:
                self.record(queue)

    def find_silences(self) -> dict[str, float | None]:
        """Return the seconds since the last sign of life of each queue; None when there was none yet."""
        now = time.time()
        with self._database.session() as session:
            pulses = {pulse.queue: pulse.at for pulse in session.scalars(select(Pulse))}
        return {queue: max(0.0, now - pulses[queue]) if queue in pulses else None for queue in QUEUES}
