"""Events of a job's life, sent to the address that its request names (``notify_url``)."""

import time

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind
from app.delivery.outbox import enlist
from app.delivery.payloads import Destination, format_event
from app.jobs.description import describe, format_moment


class JobEvents:
    """Enlists events in the outbox, in the transaction of the change that they report.

    Args:
        progress_seconds: Least seconds between two progress events of a job.
    """

    def __init__(self, progress_seconds: float = 10.0) -> None:
        self._progress_seconds = progress_seconds

    def enlist(self, session: Session, kind: Kind, job_id: str) -> bool:
        """Enlist an event if the job's request names an address; return whether a delivery is due.

        One event of each kind is sent. Of progress events only the newest is kept, and none once the job is finished.
        """
        job = session.get(Job, job_id, populate_existing=True)
        url = job.request.get("notify_url") if job else ""
        if job is None or not url or (kind is Kind.PROGRESS and self._sent_lately(session, job)):
            return False
        if kind is not Kind.STARTED:
            session.execute(delete(Delivery).where(_is_progress(job)))
        event = format_event(kind, format_moment(time.time()), describe(job))
        return enlist(session, job, kind, Destination(url, url), event)

    def _sent_lately(self, session: Session, job: Job) -> bool:
        last = session.scalar(select(func.max(Delivery.created)).where(_is_progress(job)))
        return last is not None and last > time.time() - self._progress_seconds


def _is_progress(job: Job) -> ColumnElement[bool]:
    return (Delivery.job_id == job.id) & (Delivery.kind == Kind.PROGRESS)
