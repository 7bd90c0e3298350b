"""Signs of life of the queues: a worker that answers pings and consumes nothing gives none.

Whatever comes through a queue is one, and so is the heartbeat of a job at work: the detector's worker does one thing at
a time, and nothing else comes through while it does. A queue that is idle is sent a canary (``app/watch.py``).
"""

import time
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.exc import IntegrityError

from app.database import Database, Job, Pulse
from app.jobs.states import STAGES

QUEUES = tuple(stage.queue for stage in STAGES)
# A process writes the pulse of a queue no more often.
APART_SECONDS = 1.0


class Pulses:
    """When each queue last gave a sign of life.

    Args:
        database: Where pulses and jobs are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
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

    def find_silences(self) -> dict[str, float | None]:
        """Return the seconds since the last sign of life of each queue; None when there was none yet."""
        now = time.time()
        beats = select(Job.state, func.max(Job.heartbeat)).where(
            Job.state.in_([stage.state for stage in STAGES]), Job.claim.is_not(None)
        )
        with self._database.session() as session:
            pulses = {pulse.queue: pulse.at for pulse in session.scalars(select(Pulse))}
            at_work = {row[0]: row[1] for row in session.execute(beats.group_by(Job.state))}
        signs = {stage.queue: [pulses.get(stage.queue), at_work.get(stage.state)] for stage in STAGES}
        last = {queue: max((at for at in times if at is not None), default=None) for queue, times in signs.items()}
        return {queue: None if at is None else max(0.0, now - at) for queue, at in last.items()}
