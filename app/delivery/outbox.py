"""The outbox: what is to be sent, whose turn it is, and what came of each try.

A delivery is enlisted in the transaction that makes it true, so neither is there without the other. Its id goes with
every try (``webhook-id``): a client app that is sent the same twice can tell.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, func, select, update
from sqlalchemy.orm import Session, aliased

from app.database import Attempt, Database, Delivery, Job, Secret
from app.delivery.kinds import LASTING, Kind, Status
from app.delivery.parcels import Destination

# Seconds before the second try, the third …: three days in all, as the Standard Webhooks specification proposes
# (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
WAITS = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
# How far a job is becomes stale: it is tried twice.
PROGRESS_WAITS = WAITS[:1]
LONGEST_WAIT = 86400.0
# What waits for an address that did not answer waits at most so long more: nobody hangs a thousand times at once.
LONGEST_REST = 60.0
# Tries at work for one client app: one that hangs takes a quarter of the worker's 16 threads.
APP_DELIVERIES = 4
# Stands in the ``info`` of a session that has put something in the outbox: a courier is wanted when it is committed.
ENLISTED = "enlisted"


@dataclass(frozen=True)
class Outcome:
    """What came of a try.

    Attributes:
        http_status: Of the answer; None when there was none.
        error: One sentence; None when the client app took it.
        retry_after: Seconds for which the client app asks to be left alone.
        seconds: That the try took.
    """

    http_status: int | None
    error: str | None
    retry_after: float | None
    seconds: float


def enlist(session: Session, job: Job, kind: Kind, to: Destination, body: str | None = None) -> None:
    """Put a message in the outbox, in the transaction of what it tells of. One that is there already stays as it is.

    Args:
        session: Of that transaction.
        job: That it is about; the number of its retries says which result.
        kind: Of message. There is one of each kind for each result, and of progress as much as there is.
        to: Where it goes.
        body: Of an event; a result is read from the job's files when it is sent.
    """
    name = f"{job.id} {job.retries} {kind} {to.url}" + (f" {job.state} {job.done}" if kind is Kind.PROGRESS else "")
    message_id = uuid.uuid5(uuid.NAMESPACE_URL, name).hex
    # The ids of an earlier version were left to chance: there, the columns tell.
    there = Delivery.id == message_id
    if kind is Kind.RESULT:
        there |= _is_of(job, kind) & (Delivery.result == job.retries) & (Delivery.url == to.url)
        older = _is_of(job, kind) & (Delivery.result < job.retries) & (Delivery.status == Status.PENDING)
        session.execute(update(Delivery).where(older).values(status=Status.SUPERSEDED, next_attempt=None))
    if session.scalar(select(Delivery.id).where(there)) is None:
        new = Delivery(id=message_id, job_id=job.id, app_id=job.app_id, kind=kind, result=job.retries, body=body)
        new.url, new.endpoint = to.url, to.endpoint
        session.add(new)
        session.info[ENLISTED] = True


class Outbox:
    """The deliveries in the database.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim_next(self, seconds: float) -> Delivery | None:
        """Reserve the delivery whose turn it is; None when none is due that may be tried now.

        Of the client apps for which something is due, the one that was served least recently goes first.

        Args:
            seconds: For which nobody else takes it; should this process die in the middle, it is due again after that.
        """
        for app_id in self._list_turns():
            while delivery := self._reserve(app_id, seconds):
                closed = self._find_closure(delivery)
                if closed is None:
                    return delivery
                self.end(delivery, Status.DISABLED, closed)
        return None

    def record(self, delivery: Delivery, outcome: Outcome) -> None:
        """Write down what came of a try, and when the next one is."""
        waits = PROGRESS_WAITS if delivery.kind == Kind.PROGRESS else WAITS
        pause = min(outcome.retry_after or 0, LONGEST_WAIT)
        now, tries = time.time(), delivery.attempts + 1
        wait = max(waits[tries - 1], pause) if tries <= len(waits) else None
        if outcome.error is None:
            status, wait = Status.DELIVERED, None
        elif outcome.http_status == 410:
            status, wait = Status.DISABLED, None
        else:
            status = Status.FAILED if wait is None else Status.PENDING
        error = _explain_closure(delivery) if status is Status.DISABLED else outcome.error
        values: dict[str, Any] = {"status": status, "attempts": tries, "http_status": outcome.http_status}
        values |= {"error": error, "next_attempt": now + wait if wait else None, "reserved_till": now}
        with self._database.session() as session:
            ours = session.execute(update(Delivery).where(_is_claimed(delivery)).values(**values))
            if not _count(ours) and session.get(Delivery, delivery.id) is None:
                return  # a newer event took its place
            attempt = Attempt(delivery_id=delivery.id, at=now - outcome.seconds, http_status=outcome.http_status)
            attempt.error, attempt.seconds = outcome.error, round(outcome.seconds, 3)
            session.add(attempt)
            waiting = _waits_beside(delivery, now)
            if status is Status.DISABLED:
                closed = {"status": status, "error": error, "next_attempt": None}
                session.execute(update(Delivery).where(waiting).values(**closed))
            elif outcome.http_status is None or pause:
                till = now + max(pause, min(wait or LONGEST_REST, LONGEST_REST))
                session.execute(update(Delivery).where(waiting, Delivery.next_attempt < till).values(next_attempt=till))

    def end(self, delivery: Delivery, status: Status, reason: str) -> None:
        """End a claimed delivery that cannot be made, without a try."""
        values = {"status": status, "error": reason, "next_attempt": None, "reserved_till": time.time()}
        with self._database.session() as session:
            session.execute(update(Delivery).where(_is_claimed(delivery)).values(**values))

    def renew(self, job_id: str) -> int:
        """Make what a job has to tell due now, with all its tries; return how many messages there are.

        An address that was closed is open again, and what was kept from it meanwhile is due as well.
        """
        latest = (Delivery.job_id == job_id) & Delivery.kind.in_(LASTING) & (Delivery.status != Status.SUPERSEDED)
        with self._database.session() as session:
            closed = select(Delivery.app_id, Delivery.endpoint).where(latest, Delivery.status == Status.DISABLED)
            for app_id, endpoint in session.execute(closed.distinct()).all():
                kept = (Delivery.app_id == app_id) & (Delivery.endpoint == endpoint)
                _reopen(session, kept & (Delivery.status == Status.DISABLED))
            return _make_due(session, latest)

    def count_due(self, most: int) -> int:
        """Return how many deliveries are due, counted up to a number."""
        due = select(Delivery.id).where(_is_due(Delivery)).limit(most).subquery()
        with self._database.session() as session:
            return session.scalar(select(func.count()).select_from(due)) or 0

    def find_secret(self, app_id: int) -> str | None:
        """Return the secret by which a client app knows what is from here; None when it has none."""
        with self._database.session() as session:
            return session.scalar(select(Secret.secret).where(Secret.app_id == app_id))

    def _list_turns(self) -> Sequence[int]:
        """Return the client apps for which something is due, the one that was served least recently first."""
        apps = select(Delivery.app_id).where(_is_due(Delivery)).distinct().subquery()
        served = select(func.max(Delivery.reserved_till)).where(Delivery.app_id == apps.c.app_id)
        with self._database.session() as session:
            return session.scalars(select(apps.c.app_id).order_by(served.scalar_subquery())).all()

    def _reserve(self, app_id: int, seconds: float) -> Delivery | None:
        now = time.time()
        first, other = aliased(Delivery), aliased(Delivery)
        due = select(first.id).where(first.app_id == app_id, _is_due(first)).order_by(first.next_attempt, first.created)
        at_work = select(func.count(other.id)).where(other.app_id == app_id, other.reserved_till > now)
        reserve = update(Delivery).where(
            Delivery.id == due.limit(1).with_for_update(skip_locked=True).scalar_subquery(),
            _is_due(Delivery),
            at_work.scalar_subquery() < APP_DELIVERIES,
        )
        values = reserve.values(reserved_till=now + seconds).returning(Delivery)
        with self._database.session() as session:
            return session.scalars(values, execution_options={"synchronize_session": False}).one_or_none()

    def _find_closure(self, delivery: Delivery) -> str | None:
        """Return why an address is closed to a client app. That a delivery to it is disabled says so."""
        beside = (Delivery.app_id == delivery.app_id) & (Delivery.endpoint == delivery.endpoint)
        closed = select(Delivery.error).where(beside, Delivery.status == Status.DISABLED).limit(1)
        with self._database.session() as session:
            return session.scalar(closed)


def _is_of(job: Job, kind: Kind) -> ColumnElement[bool]:
    return (Delivery.job_id == job.id) & (Delivery.kind == kind)


def _is_due(delivery: Any) -> ColumnElement[bool]:
    now = time.time()
    due = (delivery.status == Status.PENDING) & (delivery.next_attempt <= now) & (delivery.reserved_till <= now)
    return cast(ColumnElement[bool], due)


def _is_claimed(delivery: Delivery) -> ColumnElement[bool]:
    """Tell whether a delivery is still as it was claimed: neither renewed, nor cancelled, nor held back meanwhile."""
    same = (Delivery.reserved_till == delivery.reserved_till) & (Delivery.next_attempt == delivery.next_attempt)
    return (Delivery.id == delivery.id) & (Delivery.status == Status.PENDING) & same


def _waits_beside(delivery: Delivery, now: float) -> ColumnElement[bool]:
    """Tell what else waits for the address of a delivery, and is not being tried."""
    beside = (Delivery.app_id == delivery.app_id) & (Delivery.endpoint == delivery.endpoint)
    waits = (Delivery.status == Status.PENDING) & (Delivery.reserved_till <= now)
    return beside & waits & (Delivery.id != delivery.id)


def _explain_closure(delivery: Delivery) -> str:
    return (
        f"{delivery.endpoint} answered 410: nothing more is sent there, "
        "until POST /jobs/<id>/redeliver of a job that has a delivery to it opens it again."
    )


def _reopen(session: Session, kept: ColumnElement[bool]) -> None:
    """Make due what was kept from an address, but for what is no longer true."""
    newer = aliased(Delivery)
    is_older = (newer.job_id == Delivery.job_id) & (newer.kind == Delivery.kind) & (newer.result > Delivery.result)
    stale = (Delivery.kind == Kind.PROGRESS) | select(newer.id).where(is_older).exists()
    session.execute(update(Delivery).where(kept, stale).values(status=Status.SUPERSEDED))
    _make_due(session, kept)


def _make_due(session: Session, which: ColumnElement[bool]) -> int:
    values = {"status": Status.PENDING, "attempts": 0, "next_attempt": time.time(), "reserved_till": 0.0}
    session.info[ENLISTED] = True
    return _count(session.execute(update(Delivery).where(which).values(**values)))


def _count(result: Any) -> int:
    return cast(CursorResult[Any], result).rowcount
