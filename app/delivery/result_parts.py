"""A result that goes out in parts, each a message of its own: the scores of every pair of documents."""

import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database.tables import Delivery, Job
from app.delivery.endpoints import find_suspended
from app.delivery.kinds import Kind, Status
from app.delivery.outbox import build_delivery
from app.delivery.payloads import Destination


def enqueue_parts(session: Session, job: Job, to: Destination, parts: Mapping[str, str]) -> None:
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
    results = (Delivery.job_id == job.id) & (Delivery.kind == Kind.RESULT)
    rows = session.execute(
        select(Delivery.id, Delivery.part, Delivery.attempts).where(results).order_by(Delivery.result, Delivery.created)
    ).all()
    known, tried = {row.id for row in rows}, defaultdict(list)
    for row in rows:
        if row.attempts:  # it may have arrived, whatever was answered
            tried[row.part].append(row.id)
    names = {_choose_id(job, to, part, content, known, tried[part]): part for part, content in parts.items()}
    if unchanged := [{"id": each, "result": job.retries} for each in known & names.keys()]:
        session.execute(update(Delivery), unchanged)
    held = (Delivery.status == Status.PENDING) & Delivery.next_attempt.is_(None)
    stopped = held | Delivery.status.in_((Status.CANCELLED, Status.SUPERSEDED))
    due = {"status": Status.PENDING, "attempts": 0, "next_attempt": time.time()}
    session.execute(update(Delivery).where(results, Delivery.result == job.retries, stopped).values(due))
    older = results & (Delivery.status == Status.PENDING) & (Delivery.result < job.retries)
    session.execute(update(Delivery).where(older).values(status=Status.SUPERSEDED, next_attempt=None))
    endpoint = find_suspended(session, job.app_id, to.endpoint)
    new = [
        build_delivery(message_id, job, Kind.RESULT, to, endpoint, part=part)
        for message_id, part in names.items()
        if message_id not in known
    ]
    session.add_all(new)


def _choose_id(job: Job, to: Destination, part: str, content: str, known: Set[str], tried: Sequence[str]) -> str:
    """Return the id of a part: that which its content has had, unless another content has been sent since.

    A client app that takes no id twice would else keep the other.

    Args:
        job: Whose result it is.
        to: Where it goes.
        part: Its name.
        content: What stands for its content.
        known: Ids of all messages of the job's results.
        tried: Ids of those of this part that were sent, in the order of the results.
    """
    name = f"{job.id} {Kind.RESULT} {to.url} {part} {content}"
    anew = [uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {retries}").hex for retries in range(1, job.retries + 1)]
    own = [uuid.uuid5(uuid.NAMESPACE_URL, name).hex, *anew]
    if tried and tried[-1] not in own and not set(own).isdisjoint(tried):
        return own[-1]
    return next((each for each in reversed(own) if each in known), own[0])
