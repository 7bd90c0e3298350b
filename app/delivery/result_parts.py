"""Results that consist of several deliveries: one score file for each pair of documents."""

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
    """Add one delivery for each part of a job's result, in a few statements for any number of parts.

    ===========================================  ==========================================================
    part                                         delivery
    ===========================================  ==========================================================
    new                                          added
    enqueued before, by this run of the job      kept
    unchanged since an earlier run of the job    kept, with its ID; it now belongs to this run
    kept, but held back, cancelled, superseded   due, with all attempts
    changed since an earlier run of the job      added; the pending delivery of the old content is superseded
    ===========================================  ==========================================================

    Args:
        session: Session of the stage's transaction.
        job: Job with the result.
        to: Destination of all parts.
        parts: Digest of the content of each part, by name.
    """
    results = (Delivery.job_id == job.id) & (Delivery.kind == Kind.RESULT)
    rows = session.execute(
        select(Delivery.id, Delivery.part, Delivery.attempts).where(results).order_by(Delivery.result, Delivery.created)
    ).all()
    known, tried = {row.id for row in rows}, defaultdict(list)
    for row in rows:
        if row.attempts:  # it may have arrived even if the attempt failed
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
    """Return the ID of a part's delivery: the ID that the same content had before, or a new one.

    If the content changes from A to B and back to A, and B was sent, the second A gets a new ID. With the old ID, a
    client app that ignores known IDs would keep B.

    Args:
        job: Job with the result.
        to: Destination.
        part: Name of the part.
        content: Digest of its content.
        known: IDs of all result deliveries of the job.
        tried: IDs of the deliveries of this part with attempts, oldest result first.
    """
    name = f"{job.id} {Kind.RESULT} {to.url} {part} {content}"
    repeated = [uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {retries}").hex for retries in range(1, job.retries + 1)]
    own = [uuid.uuid5(uuid.NAMESPACE_URL, name).hex, *repeated]
    if tried and tried[-1] not in own and not set(own).isdisjoint(tried):
        return own[-1]
    return next((each for each in reversed(own) if each in known), own[0])
