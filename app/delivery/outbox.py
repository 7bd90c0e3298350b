"""The outbox: what is to be sent, whose turn it is, and what came of each try.

A delivery is enqueued in the transaction that makes it true, so neither is there without the other. Its id goes with
every try (``webhook-id``): a client app that is sent the same twice can tell.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from app.database.sessions import Database
from app.database.tables import Attempt, Delivery, Endpoint, Job, Secret
from app.delivery.endpoints import find_suspended, postpone_deliveries, resume_endpoint, suspend_endpoint
from app.delivery.kinds import END_EVENTS, REDELIVERABLE, Kind, Status
from app.delivery.payloads import Destination

# Seconds before the second try, the third …: three days in all, as the Standard Webhooks specification proposes
# (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
RETRY_DELAYS = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
# How far a job is becomes stale: it is tried twice.
PROGRESS_RETRY_DELAYS = RETRY_DELAYS[:1]
LONGEST_RETRY_AFTER = 86400.0
# What waits for an address that did not answer waits at most so long more: nobody hangs a thousand times at once.
LONGEST_PAUSE = 60.0
# Attempts are kept for this long: nobody asks later why a client app answered 500.
ATTEMPT_DAYS = 30
# Tries at work for one client app: one that hangs takes a quarter of the worker's 16 threads.
APP_DELIVERIES = 4
# Tries at work for all: the other threads are for the sweep and the stages that come through the same queue.
ALL_DELIVERIES = 12


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

    @property
    def pause(self) -> float:
        """Seconds for which the client app is left alone because it asks for it."""
        return min(self.retry_after or 0.0, LONGEST_RETRY_AFTER)


def enqueue(session: Session, job: Job, kind: Kind, to: Destination, body: str | None = None) -> bool:
    """Put a delivery in the outbox, in the transaction of the change that it reports; return whether it is new.

    Args:
        session: Of that transaction.
        job: That it is about; the number of its retries says which result.
        kind: Of message. There is one of each kind for each result, and of progress as much as there is.
        to: Where it goes.
        body: Of an event; a result is read from the job's files when it is sent.
    """
    is_progress = kind is Kind.PROGRESS
    message_id = (
        uuid.uuid4() if is_progress else uuid.uuid5(uuid.NAMESPACE_URL, f"{job.id} {job.retries} {kind} {to.url}")
    )
    # The ids of an earlier version were left to chance: there, the columns tell.
    there = Delivery.id == message_id.hex
    if kind is Kind.RESULT:
        there |= _is_of(job, kind) & (Delivery.result == job.retries) & (Delivery.url == to.url)
    if kind in REDELIVERABLE:  # of results, and of the ends of a job, the newest is what is still true
        alike = (Delivery.kind == Kind.RESULT) if kind is Kind.RESULT else Delivery.kind.in_(END_EVENTS)
        older = (Delivery.job_id == job.id) & alike & (Delivery.result < job.retries)
        older &= Delivery.status == Status.PENDING
        session.execute(update(Delivery).where(older).values(status=Status.SUPERSEDED, next_attempt=None))
    if session.scalar(select(Delivery.id).where(there)) is not None:
        return False
    endpoint = find_suspended(session, job.app_id, to.endpoint)
    if endpoint and endpoint.closed and is_progress:
        return False
    session.add(build_delivery(message_id.hex, job, kind, to, endpoint, body=body))
    return True


def build_delivery(
    message_id: str, job: Job, kind: Kind, to: Destination, endpoint: Endpoint | None, **values: Any
) -> Delivery:
    """Return the row of a new message, which waits as long as its address rests."""
    closed = endpoint.closed if endpoint else None
    new = Delivery(id=message_id, job_id=job.id, app_id=job.app_id, kind=kind, result=job.retries, **values)
    new.url, new.endpoint, new.error = to.url, to.endpoint, closed
    new.status = Status.DISABLED if closed else Status.PENDING
    new.next_attempt = None if closed else max(time.time(), endpoint.paused_until if endpoint else 0.0)
    return new


class Outbox:
    """The deliveries in the database.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def lease_next(self, seconds: float) -> Delivery | None:
        """Reserve the delivery whose turn it is; None when none is due that may be tried now.

        Of the client apps for which something is due, the one that was served least recently goes first.

        Args:
            seconds: For which nobody else takes it; should this process die in the middle, it is due again after that.
        """
        for app_id in self._list_apps_due():
            while delivery := self._lease(app_id, seconds):
                if not self._postpone_if_suspended(delivery):
                    return delivery
        return None

    def record(self, delivery: Delivery, outcome: Outcome) -> None:
        """Write down what came of a try, and when the next one is.

        What arrived has arrived, also when the job was cancelled or tried again meanwhile. What did not is tried again
        only as far as nobody has decided otherwise by now.
        """
        now, tries = time.time(), delivery.attempts + 1
        ours = (Delivery.id == delivery.id) & (Delivery.leased_until == delivery.leased_until)
        tried = {"attempts": tries, "http_status": outcome.http_status, "error": outcome.error, "leased_until": 0.0}
        with self._database.session() as session:
            # A write comes first: from then on nobody else changes the row.
            is_ours = _count(session.execute(update(Delivery).where(ours).values(**tried)))
            row = session.get(Delivery, delivery.id, populate_existing=True)
            if row is None:  # a newer event took its place
                return
            attempt = Attempt(delivery_id=row.id, at=now - outcome.seconds, http_status=outcome.http_status)
            attempt.error, attempt.seconds = outcome.error, round(outcome.seconds, 3)
            session.add(attempt)
            if not is_ours:  # somebody has asked for it to be sent again, from the first try
                return
            wait = _apply_outcome(row, delivery.next_attempt, outcome)
        self._update_endpoint(delivery, outcome, wait)

    def _update_endpoint(self, delivery: Delivery, outcome: Outcome, wait: float | None) -> None:
        """Leave an address alone that did not answer or asks for it, and for good one that is gone."""
        with self._database.session() as session:
            if outcome.error is None:
                resume_endpoint(session, delivery.app_id, delivery.endpoint)
            elif outcome.http_status == 410:
                suspend_endpoint(session, delivery.app_id, delivery.endpoint, closed=_explain_closure(delivery))
            elif outcome.http_status is None or outcome.pause:
                pause = max(outcome.pause, min(wait or LONGEST_PAUSE, LONGEST_PAUSE))
                suspend_endpoint(session, delivery.app_id, delivery.endpoint, paused_until=time.time() + pause)

    def end(self, delivery: Delivery, status: Status, reason: str) -> None:
        """End a leased delivery that cannot be made, without a try."""
        values: dict[str, Any] = {"status": status, "error": reason, "next_attempt": None, "leased_until": 0.0}
        with self._database.session() as session:
            session.execute(update(Delivery).where(_is_leased(delivery)).values(**values))

    def redeliver(self, job_id: str) -> int:
        """Make what a job has to tell due now, with all its tries; return how many messages there are.

        That is its newest result, and its newest end. An address that was closed or rests is open again, and what was
        kept from a closed one meanwhile is due as well.
        """
        latest = (Delivery.job_id == job_id) & Delivery.kind.in_(REDELIVERABLE) & ~_is_superseded()
        with self._database.session() as session:
            for app_id, url in session.execute(
                select(Delivery.app_id, Delivery.endpoint).where(latest).distinct()
            ).all():
                resume_endpoint(session, app_id, url)
                kept = (Delivery.app_id == app_id) & (Delivery.endpoint == url)
                _enqueue_disabled(session, kept & (Delivery.status == Status.DISABLED))
            return _make_due(session, latest)

    def count_due(self, most: int) -> int:
        """Return how many deliveries are due, counted up to a number."""
        due = select(Delivery.id).where(_is_due(Delivery)).limit(most).subquery()
        with self._database.session() as session:
            return session.scalar(select(func.count()).select_from(due)) or 0

    def remove_old_attempts(self) -> int:
        """Remove the records of attempts after ``ATTEMPT_DAYS``; return their number."""
        with self._database.session() as session:
            return _count(session.execute(delete(Attempt).where(Attempt.at < time.time() - 86400 * ATTEMPT_DAYS)))

    def find_secret(self, app_id: int) -> str | None:
        """Return the secret by which a client app knows what is from here; None when it has none."""
        with self._database.session() as session:
            return session.scalar(select(Secret.secret).where(Secret.app_id == app_id))

    def _list_apps_due(self) -> Sequence[int]:
        """Return the client apps for which something is due, the one that was served least recently first."""
        apps = select(Delivery.app_id).where(_is_due(Delivery)).distinct().subquery()
        served = select(func.max(Delivery.attempted)).where(Delivery.app_id == apps.c.app_id)
        with self._database.session() as session:
            return session.scalars(select(apps.c.app_id).order_by(served.scalar_subquery())).all()

    def _lease(self, app_id: int, seconds: float) -> Delivery | None:
        now = time.time()
        first, other = aliased(Delivery), aliased(Delivery)
        due = select(first.id).where(first.app_id == app_id, _is_due(first)).order_by(first.next_attempt, first.created)
        # A lease that ends later than an attempt can last was taken before the clock was set back.
        at_work = select(func.count(other.id)).where(other.leased_until > now, other.leased_until <= now + seconds)
        reserve = update(Delivery).where(
            Delivery.id == due.limit(1).with_for_update(skip_locked=True).scalar_subquery(),
            _is_due(Delivery),
            at_work.where(other.app_id == app_id).scalar_subquery() < APP_DELIVERIES,
            at_work.scalar_subquery() < ALL_DELIVERIES,
        )
        values = reserve.values(leased_until=now + seconds, attempted=now).returning(Delivery)
        with self._database.session() as session:
            return session.scalars(values, execution_options={"synchronize_session": False}).one_or_none()

    def _postpone_if_suspended(self, delivery: Delivery) -> bool:
        """Put a reserved delivery off, with all that waits beside it, if its address has come to rest or is closed."""
        with self._database.session() as session:
            if find_suspended(session, delivery.app_id, delivery.endpoint) is None:
                return False
            session.execute(update(Delivery).where(_is_leased(delivery)).values(leased_until=0.0))
        with self._database.session() as session:
            postpone_deliveries(session, delivery.app_id, delivery.endpoint)
        return True


def _apply_outcome(row: Delivery, due: float | None, outcome: Outcome) -> float | None:
    """Decide what becomes of a delivery after a try, and return the wait before the next in seconds, if there is one.

    Args:
        row: Of the delivery, with the try counted.
        due: When it was due; another time now means that it is held back, because a newer result is on its way.
        outcome: Of the try.
    """
    if outcome.error is None:
        row.status, row.next_attempt = Status.DELIVERED, None
        return None
    waits = PROGRESS_RETRY_DELAYS if row.kind == Kind.PROGRESS else RETRY_DELAYS
    wait = max(waits[row.attempts - 1], outcome.pause) if row.attempts <= len(waits) else None
    if row.status == Status.PENDING and row.next_attempt == due:
        row.status = Status.FAILED if wait is None else Status.PENDING
        row.next_attempt = None if wait is None else time.time() + wait
    return wait


def _is_of(job: Job, kind: Kind) -> ColumnElement[bool]:
    return (Delivery.job_id == job.id) & (Delivery.kind == kind)


def _is_due(delivery: Any) -> ColumnElement[bool]:
    now = time.time()
    due = (delivery.status == Status.PENDING) & (delivery.next_attempt <= now) & (delivery.leased_until <= now)
    return cast(ColumnElement[bool], due)


def _is_leased(delivery: Delivery) -> ColumnElement[bool]:
    """Tell whether a delivery is still as it was leased: neither renewed, nor cancelled, nor held back meanwhile."""
    same = (Delivery.leased_until == delivery.leased_until) & (Delivery.next_attempt == delivery.next_attempt)
    return (Delivery.id == delivery.id) & (Delivery.status == Status.PENDING) & same


def _explain_closure(delivery: Delivery) -> str:
    return (
        f"{delivery.endpoint} answered 410: nothing more is sent there, "
        "until POST /jobs/<id>/redeliver of a job that has a delivery to it opens it again."
    )


def _enqueue_disabled(session: Session, kept: ColumnElement[bool]) -> None:
    """Make due what was kept from an address, but for what is no longer true."""
    stale = (Delivery.kind == Kind.PROGRESS) | _is_superseded()
    session.execute(update(Delivery).where(kept, stale).values(status=Status.SUPERSEDED))
    _make_due(session, kept)


def _is_superseded() -> ColumnElement[bool]:
    """Tell whether a job has a newer result than the one that a delivery carries, or has ended anew since."""
    newer = aliased(Delivery)
    alike = (newer.kind == Kind.RESULT) == (Delivery.kind == Kind.RESULT)
    is_newer = (newer.job_id == Delivery.job_id) & (newer.result > Delivery.result) & newer.kind.in_(REDELIVERABLE)
    return select(newer.id).where(is_newer, alike).exists()


def _make_due(session: Session, which: ColumnElement[bool]) -> int:
    values = {"status": Status.PENDING, "attempts": 0, "next_attempt": time.time(), "leased_until": 0.0}
    return _count(session.execute(update(Delivery).where(which).values(**values)))


def _count(result: Any) -> int:
    return cast(CursorResult[Any], result).rowcount
