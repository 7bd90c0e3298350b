"""Announcements: what becomes of a job, told to the address that its request named for it (``notify_url``)."""

import time
from collections.abc import Callable

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind
from app.delivery.outbox import enlist
from app.delivery.payloads import Destination, format_event
from app.jobs.description import describe, format_moment

# What is done in the transaction of a change, once the change is made.
Then = Callable[[Session], None]


class Announcements:
    """Puts events in the outbox, each in the transaction of the change that it tells of.

    Args:
        progress_seconds: Between two events that say how far a job is.
    """

    def __init__(self, progress_seconds: float = 10.0) -> None:
        self._progress_seconds = progress_seconds

    def of(self, kind: Kind, job_id: str) -> Then:
        """Return what a change of a job is followed by, so that the event is there if and only if the change is."""
        return lambda session: self.announce(session, kind, job_id)

    def announce(self, session: Session, kind: Kind, job_id: str) -> None:
        """Enlist an event, if the job's request named an address for it: one of each kind, but for progress.

        Of the events that say how far a job is only the newest is kept, and none once the job is finished.
        """
        job = session.get(Job, job_id, populate_existing=True)
        url = job.request.get("notify_url") if job else ""
        if job is None or not url or (kind is Kind.PROGRESS and self._told_lately(session, job)):
            return
        if kind is not Kind.STARTED:
            session.execute(delete(Delivery).where(_is_progress(job)))
        event = format_event(kind, format_moment(time.time()), describe(job))
        enlist(session, job, kind, Destination(url, url), event)

    def _told_lately(self, session: Session, job: Job) -> bool:
        last = session.scalar(select(func.max(Delivery.created)).where(_is_progress(job)))
        return last is not None and last > time.time() - self._progress_seconds


def _is_progress(job: Job) -> ColumnElement[bool]:
    return (Delivery.job_id == job.id) & (Delivery.kind == Kind.PROGRESS)
