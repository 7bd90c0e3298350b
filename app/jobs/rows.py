"""Rows of jobs: new rows, rows of a collection's parts, and the statements that change rows."""

import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Float, Integer, Update, bindparam, case, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind, Status
from app.errors import RequestError
from app.jobs.description import count_failed
from app.jobs.requests import DetectionRequest, Request
from app.jobs.states import UNFINISHED, Stage, State

# Statements on the table, because those on the class take half as long again.
_JOBS: Any = Job.__table__
_NOW, _EARLIEST = bindparam("now", type_=Float), bindparam("earliest", type_=Float)
# Seconds of work since the last heartbeat of a job; 0 if the clock was set meanwhile.
_SINCE = case((Job.heartbeat.between(_EARLIEST, _NOW), _NOW - Job.heartbeat), else_=0.0)
_REACHED = bindparam("reached", type_=Integer)
_IS_PROGRESS = Job.done < _REACHED

# Changes of a leased job, see :func:`change_leased`. They are built once, because this takes longer than the database.
BEAT = update(_JOBS).where(_JOBS.c.id == bindparam("job_id"), _JOBS.c.lease == bindparam("held"))
BEAT = BEAT.values(worked=Job.worked + _SINCE, stalled=Job.stalled + _SINCE)
ACTIVITY = BEAT.values(stalled=0.0)
START = BEAT.values(starts=Job.starts + 1)
END_OF_STAGE = BEAT.values(worked=0.0)
# Only a new maximum of ``done`` is progress.
PROGRESS = BEAT.values(
    starts=case((_IS_PROGRESS & (Job.starts > 0), 1), else_=Job.starts),
    tries=case((_IS_PROGRESS, 1), else_=Job.tries),
    stalled=case((_IS_PROGRESS, 0.0), else_=Job.stalled + _SINCE),
    done=case((_IS_PROGRESS, _REACHED), else_=Job.done),
)


def build_lease(stage: Stage, may_be_leased: ColumnElement[bool]) -> ReturningUpdate[Job]:
    """Return the statement that leases a job if a condition holds, and returns its new row.

    Its parameters are `job_id`, `token`, `process` and `now`.
    """
    values: dict[str, Any] = {"state": stage.state, "lease": bindparam("token"), "leased_by": bindparam("process")}
    values |= {"heartbeat": _NOW, "updated": _NOW, "tries": Job.tries + 1, "stalled": 0.0}
    lease = update(Job).where(Job.id == bindparam("job_id"), may_be_leased).values(**values)
    return lease.returning(Job).execution_options(synchronize_session=False)


def build_job(job_id: str, app_id: int, request: Request, parent_id: str | None = None) -> Job:
    """Return the row of a new job."""
    return Job(
        id=job_id,
        app_id=app_id,
        kind=request.kind,
        state=State.QUEUED if request.needs_download else State.RUNNING,
        host=request.host,
        request=request.as_json(),
        parent_id=parent_id,
    )


def build_ending(state: State, **values: Any) -> dict[str, Any]:
    """Return the column values that end a job."""
    return {"state": state, "lease": None, "heartbeat": None, "finished": time.time(), **values}


def update_job(session: Session, job_id: str, condition: Any, *, touch: bool = True, **values: Any) -> bool:
    """Change a job's row if a condition holds; return whether it held.

    Args:
        session: Session of the transaction.
        job_id: ID of the job.
        condition: Condition on the row.
        touch: Whether to set the time of the last update.
        values: New column values.
    """
    if touch:
        values |= {"updated": time.time()}
    change = update(_JOBS).where(Job.id == job_id, condition).values(**values)
    return cast(CursorResult[Any], session.execute(change)).rowcount == 1


def change_leased(
    session: Session, job: Job, change: Update, stale_seconds: float, *, touch: bool = True, **values: Any
) -> bool:
    """Change the row of a leased job, and record a heartbeat; return False if the lease is lost.

    Args:
        session: Session of the transaction.
        job: Leased job.
        change: One of the statements above.
        stale_seconds: Longest time between two heartbeats that counts as work.
        touch: Whether to set the time of the last update.
        values: New column values, and other parameters of the statement.
    """
    now = time.time()
    values = {"heartbeat": now, **({"updated": now} if touch else {}), **values}
    values |= {"job_id": job.id, "held": job.lease, "now": now, "earliest": now - stale_seconds}
    return cast(CursorResult[Any], session.execute(change, values)).rowcount == 1


def cancel_all(session: Session, app_ids: Collection[int]) -> None:
    """Cancel the unfinished jobs and the pending deliveries of client apps, without events."""
    unfinished = Job.app_id.in_(app_ids) & Job.state.in_(UNFINISHED)
    session.execute(update(_JOBS).where(unfinished).values(**build_ending(State.CANCELLED, updated=time.time())))
    pending = Delivery.app_id.in_(app_ids) & (Delivery.status == Status.PENDING)
    session.execute(update(Delivery).where(pending).values(status=Status.CANCELLED, next_attempt=None))


def reschedule_results(session: Session, job_id: str, next_attempt: float | None) -> None:
    """Set the next attempt of a job's pending result deliveries; None holds them back."""
    pending = (Delivery.job_id == job_id) & (Delivery.kind == Kind.RESULT) & (Delivery.status == Status.PENDING)
    session.execute(update(Delivery).where(pending).values(next_attempt=next_attempt))


def build_parts(job: Job, requests: Sequence[DetectionRequest], refused: Mapping[str, str]) -> Iterator[Job]:
    """Yield a new job for each manifest of a collection, and a failed job for each unusable URL.

    Args:
        job: Job of the collection.
        requests: Requests of the manifests.
        refused: Reason for each unusable URL.
    """
    for request in requests:
        yield build_job(build_part_id(job.id, request.manifest_url), job.app_id, request, job.id)
    for url, reason in refused.items():
        yield Job(
            id=build_part_id(job.id, url),
            app_id=job.app_id,
            kind=DetectionRequest.kind,
            request=job.request | {"manifest_url": url[:200]},
            parent_id=job.id,
            **build_ending(State.FAILED, error_code=RequestError.code, error_message=reason),
        )


def can_be_retried(part: Job) -> bool:
    """Return whether a part was cancelled, failed, or has parts that failed. A refused URL cannot be retried."""
    if part.state == State.DONE:
        return count_failed(part) > 0
    return part.finished is not None and part.error_code != RequestError.code


def build_part_id(job_id: str, name: str) -> str:
    """Return the ID of a part of a job. It is always the same, so that a repeated expansion adds no duplicates.

    Args:
        job_id: ID of the job.
        name: Name that is unique among its parts, such as the URL of a manifest.
    """
    return uuid.uuid5(uuid.UUID(job_id), name).hex
