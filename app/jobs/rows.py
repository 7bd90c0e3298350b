"""Rows of jobs: new ones, and the statements that change them."""

import time
from typing import Any, cast

from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session

from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind, Status
from app.jobs.requests import Request
from app.jobs.states import State


def build_job(job_id: str, app_id: int, request: Request, parent_id: str | None = None) -> Job:
    """Return the row of a new job."""
    return Job(
        id=job_id, app_id=app_id, kind=request.kind, host=request.host, request=request.as_json(), parent_id=parent_id
    )


def build_ending(state: State, **values: Any) -> dict[str, Any]:
    """Return the column values of a finished job."""
    return {"state": state, "lease": None, "heartbeat": None, "finished": time.time(), **values}


def update_job(session: Session, job_id: str, condition: Any, *, touch: bool = True, **values: Any) -> bool:
    """Change a job's row if a condition holds; return whether it did.

    Args:
        session: Session of the transaction.
        job_id: ID of the job.
        condition: Condition on the row.
        touch: Set the time of the last update.
        values: New column values.
    """
    if touch:
        values |= {"updated": time.time()}
    result = session.execute(update(Job).where(Job.id == job_id, condition).values(**values))
    return cast(CursorResult[Any], result).rowcount == 1


def reschedule_results(session: Session, job_id: str, next_attempt: float | None) -> None:
    """Set the next attempt of a job's pending results; None holds them back."""
    pending = (Delivery.job_id == job_id) & (Delivery.kind == Kind.RESULT) & (Delivery.status == Status.PENDING)
    session.execute(update(Delivery).where(pending).values(next_attempt=next_attempt))
