"""Heartbeats of the queues: when a worker of each queue last showed that it works.

A worker that answers pings and consumes nothing shows none. Every message that a worker takes is a heartbeat of its
queue, and so is the heartbeat of the job at work: the ``gpu`` worker takes no other message meanwhile. An idle queue is
sent a canary (``app/workers/signals.py``).
"""

import time
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import IntegrityError

from app.database.sessions import Database
from app.database.tables import QueueHeartbeat
from app.jobs.states import QUEUES

# A process records a queue no more often.
INTERVAL_SECONDS = 1.0


class QueueHeartbeats:
    """Time of the last heartbeat of each queue.

    Args:
        database: Database with the heartbeats.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recorded: dict[str, float] = {}

    def record(self, *queues: str) -> None:
        """Record a heartbeat of some queues."""
        now = time.time()
        for queue in queues:
            if abs(now - self._recorded.get(queue, 0.0)) >= INTERVAL_SECONDS:
                self._recorded[queue] = now
                self._write(queue, now)

    def _write(self, queue: str, now: float) -> None:
        with self._database.session() as session:
            result = session.execute(update(QueueHeartbeat).where(QueueHeartbeat.queue == queue).values(at=now))
        if not cast(CursorResult[Any], result).rowcount:
            with suppress(IntegrityError), self._database.session() as session:  # another process was first
                session.add(QueueHeartbeat(queue=queue, at=now))

    def find_silences(self) -> dict[str, float | None]:
        """Return the seconds since the last heartbeat of each queue; None for a queue without any."""
        now = time.time()
        with self._database.session() as session:
            recorded = {each.queue: each.at for each in session.scalars(select(QueueHeartbeat))}
        return {queue: max(0.0, now - recorded[queue]) if queue in recorded else None for queue in QUEUES}
