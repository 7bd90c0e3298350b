"""The JSON of a job: in answers, and in the events that are sent to ``notify_url``."""

import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from app.database.tables import Attempt, Delivery, Job
from app.delivery.kinds import END_EVENTS, Kind
from app.delivery.outbox import enqueue
from app.delivery.payloads import Destination, format_event
from app.jobs.job_kinds import REPORTING, find_kind

# Shortest time between two progress events of a job, in seconds.
PROGRESS_SECONDS = 10.0


def describe(job: Job) -> dict[str, Any]:
    """Return the JSON of a job, without its deliveries."""
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return {
        "job_id": job.id,
        "kind": job.kind,
        "state": job.state,
        "progress": {"stage": job.state, "done": job.done, "total": job.total},
        "created": format_time(job.created),
        "updated": format_time(job.updated),
        "finished": format_time(job.finished),
        **find_kind(job.kind).describe(job),
        "timings": job.timings,
        "error": error,
    }


def count_failed(job: Job) -> int:
    """Return the number of failed canvases; for a similarity job, of failed images and failed documents."""
    coverage = job.coverage or {}
    failed = len(coverage.get("failed", ()))
    for document in coverage.get("documents", ()):
        failed += len(document["failed"]) or (1 if document["error"] else 0)
    return failed


def describe_delivery(delivery: Delivery) -> dict[str, Any]:
    """Return the JSON of a delivery with its attempts."""
    return {
        "id": delivery.id,
        "kind": delivery.kind,
        **({"part": delivery.part} if delivery.part else {}),
        "url": delivery.url,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "http_status": delivery.http_status,
        "error": delivery.error,
        "next_attempt": format_time(delivery.next_attempt),
        "history": [_describe_attempt(attempt) for attempt in delivery.history],
    }


def describe_part(part: Job) -> dict[str, Any]:
    """Return the short JSON of a job that is a part of another."""
    about = {name: part.request[name] for name in ("manifest_url",) if name in part.request}
    return {"job_id": part.id, **about, "state": part.state}


def format_time(seconds: float | None) -> str | None:
    """Return a time in seconds since the epoch as RFC 3339 in UTC, with whole seconds."""
    return None if seconds is None else format_moment(seconds, "seconds")


def format_moment(seconds: float, precision: str = "milliseconds") -> str:
    """Return a time in seconds since the epoch as RFC 3339 in UTC, with milliseconds by default."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _describe_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": format_time(attempt.at),
        "http_status": attempt.http_status,
        "error": attempt.error,
        "seconds": attempt.seconds,
    }


def wants_events(job: Job) -> bool:
    """Return whether the request of a job has a ``notify_url``."""
    return bool(job.request.get("notify_url"))


class JobEvents:
    """Adds events to the outbox, in the transaction of the change that they report."""

    def enqueue(self, session: Session, kind: Kind, job_id: str) -> bool:
        """Enqueue an event if the job's request has a ``notify_url``; return whether a delivery was added.

        A progress event replaces the previous one, and the end of the job removes it. A run of the job
        (see ``states.py``) has at most one event of every other kind.

        The events about the parts of some kinds of jobs belong to the whole job: see :meth:`_report_part`.
        """
        job = session.get(Job, job_id, populate_existing=True)
        if job is None or not wants_events(job) or (kind is Kind.PROGRESS and self._sent_lately(session, job)):
            return False
        if job.parent_id and _reports_parts(session, job.parent_id):
            return self._report_part(session, kind, job)
        url = job.request["notify_url"]
        if kind is not Kind.STARTED:
            session.execute(delete(Delivery).where(_is_progress(job)))
        event = format_event(kind, format_moment(time.time()), describe(job))
        return enqueue(session, job, kind, Destination(url, url), event)

    def _report_part(self, session: Session, kind: Kind, part: Job) -> bool:
        """Enqueue an event of a whole job about one of its parts; return whether a delivery was added.

        The end of a part is progress of the whole, and the end of the last one is its end. The lock on the row of the
        whole ensures that one of two parts that end at the same time is the last.
        """
        if kind is Kind.PROGRESS:
            return False
        whole = session.get_one(Job, part.parent_id, with_for_update=True, populate_existing=True)
        parts = select(Job).where(Job.parent_id == whole.id).order_by(Job.created, Job.id)
        is_last = kind in END_EVENTS and not session.scalars(parts.where(Job.finished.is_(None)).limit(1)).first()
        ends = (Delivery.job_id == whole.id) & (Delivery.result == whole.retries) & Delivery.kind.in_(END_EVENTS)
        if is_last and session.scalar(select(Delivery.id).where(ends).limit(1)):
            return False  # all parts were cancelled at once
        ended = session.scalars(parts).all() if is_last else []
        event = find_kind(whole.kind).import_event()(kind, whole, part, ended)
        if event is None:
            return False
        if ended:  # its event repeats the results that progress events have reported
            session.execute(delete(Delivery).where(_is_progress(whole)))
        url = whole.request["notify_url"]
        return enqueue(session, whole, event[0], Destination(url, url), event[1])

    def _sent_lately(self, session: Session, job: Job) -> bool:
        last = session.scalar(select(func.max(Delivery.created)).where(_is_progress(job)))
        return last is not None and last > time.time() - PROGRESS_SECONDS


def _reports_parts(session: Session, job_id: str) -> bool:
    """Return whether the events about the parts of a job belong to the whole job."""
    return session.scalar(select(Job.kind).where(Job.id == job_id)) in REPORTING


def _is_progress(job: Job) -> ColumnElement[bool]:
    return (Delivery.job_id == job.id) & (Delivery.kind == Kind.PROGRESS)
