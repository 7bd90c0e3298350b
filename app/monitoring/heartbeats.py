"""Heartbeats of the queues: they show that a worker consumes a queue.

A ping is not enough, because a worker may answer pings without consuming messages. A heartbeat is recorded for:

    every message              when its task begins and ends
    every heartbeat of a job   the ``gpu`` worker takes no other message while a job runs
    every canary               a message to an idle queue (``app/workers/signals.py``)
"""

import time
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import IntegrityError

from app.database.sessions import Database
from app.database.tables import QueueHeartbeat
from app.jobs.states import QUEUES

# Shortest time between two recorded heartbeats of a queue by one process.
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
