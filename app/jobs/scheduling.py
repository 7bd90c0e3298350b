"""The line: whose turn it is at a stage.

A message on a queue is a place in the line, not an order to work on the job that it names: whoever takes it works on
the job whose turn it is. Client apps take turns, and the jobs of one app are taken in the order in which they were
made. So a thousand manifests of one app hold up another's single one for no longer than the job in hand.
"""

import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Select, and_, case, false, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from app.database.tables import Database, Job, Turn
from app.jobs.requests import TrainingRequest
from app.jobs.states import DETECT, DOWNLOAD, Stage, State

# Manifests downloaded from one host at a time: while one waits for its last pages, the next begins. More would not be
# faster, because the requests to a host are limited, and would take threads from other hosts.
HOST_JOBS = 2
# Seconds after which a training has its turn whoever else waits, for an epoch.
LONGEST_WAIT = 3600.0


class Line:
    """The jobs that wait for a stage, in the order in which they are served.

    Args:
        database: Where the jobs are.
        stale_seconds: A claim without a heartbeat for so long is nobody's.
        host_jobs: How many jobs may be downloaded from one host at a time: the others wait, and hold up nobody.
    """

    def __init__(self, database: Database, stale_seconds: float, host_jobs: int) -> None:
        self._database = database
        self._stale_seconds = stale_seconds
        self._host_jobs = host_jobs

    def find_next(self, stage: Stage, dead: Collection[str] = ()) -> Job | None:
        """Return the job whose turn it is: the oldest of the app that was served least recently.

        A job whose worker has died is the first to go on. Trainings come last where the others are looked at.

        Args:
            stage: At which it waits.
            dead: Claims whose worker is known to have died; they hold nothing any more.
        """
        turns = and_(Turn.app_id == Job.app_id, Turn.queue == stage.queue)
        interrupted = case((Job.claim.in_(dead), 0), else_=1)
        order = (_rank(stage), interrupted, func.coalesce(Turn.served, 0.0), Job.created, Job.id)
        waiting = select(Job).outerjoin(Turn, turns).where(self.is_free(stage, dead)).order_by(*order)
        with self._database.session() as session:
            return session.scalars(waiting.limit(1)).first()

    def is_free(self, stage: Stage, dead: Collection[str] = ()) -> ColumnElement[bool]:
        """Tell of a job whether a stage of it may be taken now."""
        nobodys = Job.claim.is_(None) | Job.claim.in_(dead) | (Job.heartbeat < time.time() - self._stale_seconds)
        free = Job.state.in_(stage.starts_from) & nobodys
        return free & Job.host.not_in(self._find_full_hosts(dead)) if stage is DOWNLOAD else free

    def is_awaited(self, stage: Stage) -> bool:
        """Tell whether a job waits for a stage that goes before a training."""
        waiting = select(Job.id).where(self.is_free(stage), Job.kind != TrainingRequest.kind)
        with self._database.session() as session:
            return session.scalars(waiting.limit(1)).first() is not None

    def note_turn(self, job: Job, stage: Stage) -> None:
        """Record that a job's app was served now: the others come first."""
        now, mine = time.time(), (Turn.app_id == job.app_id) & (Turn.queue == stage.queue)
        with self._database.session() as session:
            result = session.execute(update(Turn).where(mine).values(served=now))
        if not cast(CursorResult[Any], result).rowcount:
            with suppress(IntegrityError), self._database.session() as session:  # another worker was quicker
                session.add(Turn(app_id=job.app_id, queue=stage.queue, served=now))

    def _find_full_hosts(self, dead: Collection[str]) -> Select[str]:
        """Select the hosts from which as many jobs are downloaded as may be at a time."""
        other = aliased(Job)
        at_work = (other.state == State.DOWNLOADING) & other.claim.is_not(None) & other.claim.not_in(dead)
        alive = other.heartbeat >= time.time() - self._stale_seconds
        full = func.count(other.id) >= self._host_jobs
        return select(other.host).where(at_work, alive).group_by(other.host).having(full)


def _rank(stage: Stage) -> ColumnElement[int]:
    """Return what comes first at a stage: a training takes hours, and stops after every epoch when others wait."""
    waited = Job.heartbeat < time.time() - LONGEST_WAIT
    training = (Job.kind == TrainingRequest.kind) if stage is DETECT else false()
    return case((training & waited, -1), (training, 1), else_=0)
