"""A result that goes out in parts, each a message of its own: the scores of every pair of documents."""

import time
import uuid
from collections.abc import Mapping

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database import Delivery, Job
from app.delivery.endpoints import find_endpoint
from app.delivery.kinds import Kind, Status
from app.delivery.outbox import ENLISTED, build_delivery
from app.delivery.parcels import Destination


def enlist_parts(session: Session, job: Job, to: Destination, parts: Mapping[str, str]) -> None:
    """Put the parts of a job's result in the outbox, in a few statements, however many there are.

    A part that is there already, as when the stage runs again, stays as it is. So does one that has not changed when
    the job was tried again, under its id; one that was held back, cancelled or replaced meanwhile is due, with all its
    tries. What has changed takes the place of what has not arrived.

    Args:
        session: Of the transaction of the stage.
        job: Whose result it is.
        to: Where all of it goes.
        parts: What stands for the content of each part, by its name.
    """
    names = {_name(job, to, part, content): part for part, content in parts.items()}
    results = (Delivery.job_id == job.id) & (Delivery.kind == Kind.RESULT)
    known = set(session.scalars(select(Delivery.id).where(results)))
    if unchanged := [{"id": each, "result": job.retries} for each in known & names.keys()]:
        session.execute(update(Delivery), unchanged)
    held = (Delivery.status == Status.PENDING) & Delivery.next_attempt.is_(None)
    stopped = held | Delivery.status.in_((Status.CANCELLED, Status.SUPERSEDED))
    due = {"status": Status.PENDING, "attempts": 0, "next_attempt": time.time()}
    session.execute(update(Delivery).where(results, Delivery.result == job.retries, stopped).values(due))
    older = results & (Delivery.status == Status.PENDING) & (Delivery.result < job.retries)
    session.execute(update(Delivery).where(older).values(status=Status.SUPERSEDED, next_attempt=None))
    endpoint = find_endpoint(session, job.app_id, to.endpoint)
    new = [
        build_delivery(message_id, job, Kind.RESULT, to, endpoint, part=part)
        for message_id, part in names.items()
        if message_id not in known
    ]
    session.add_all(new)
    session.info[ENLISTED] = True


def _name(job: Job, to: Destination, part: str, content: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{job.id} {Kind.RESULT} {to.url} {part} {content}").hex
