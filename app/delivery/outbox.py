"""The outbox: the queue of deliveries, with their leases, attempts and retry delays.

A delivery is inserted in the transaction of the change that it reports, so either both are committed or neither. Every
attempt sends its ID as ``webhook-id``, by which a client app recognises a delivery that arrives twice. The statuses are
explained in ``kinds.py``.

Due deliveries are leased round robin by client app, and by due time within one app. `APP_DELIVERIES` and
`ALL_DELIVERIES` limit the attempts in progress.
"""

import time
import uuid
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Float, Integer, bindparam, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from app.database.sessions import Database
from app.database.tables import Attempt, Delivery, Endpoint, Job, Secret
from app.delivery.endpoints import find_suspended, is_listed, postpone_deliveries, resume_endpoint, suspend_endpoint
from app.delivery.kinds import END_EVENTS, REDELIVERABLE, Kind, Status
from app.delivery.payloads import Destination

# Seconds before the second attempt, the third, and so on. They add up to three days, as the Standard Webhooks
# specification proposes (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
RETRY_DELAYS = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
# Progress events are soon out of date: they get two attempts.
PROGRESS_RETRY_DELAYS = RETRY_DELAYS[:1]
# Longest ``Retry-After`` that is honoured, in seconds.
LONGEST_RETRY_AFTER = 86400.0
# Longest pause of an endpoint that did not answer, in seconds. Without it, each delivery would block a thread again.
LONGEST_PAUSE = 60.0
# Days after which records of attempts are removed.
ATTEMPT_DAYS = 30
# Attempts in progress for one client app: an app that hangs occupies a quarter of the worker's 16 threads.
APP_DELIVERIES = 4
# Attempts in progress for all client apps: the other threads run the tasks of the same queue.
ALL_DELIVERIES = 12

# Statements are built once, because this takes longer than the database.
_NOW, _UNTIL, _APP = bindparam("now", type_=Float), bindparam("until", type_=Float), bindparam("app", type_=Integer)
_IS_DUE = (Delivery.status == Status.PENDING) & (Delivery.next_attempt <= _NOW) & (Delivery.leased_until <= _NOW)
_DUE = select(Delivery.id).where(_IS_DUE)
_COUNT_DUE = select(func.count()).select_from(_DUE.limit(bindparam("most")).subquery())
_APPS = select(Delivery.app_id).where(_IS_DUE).distinct().subquery()
_SERVED = select(func.max(Delivery.attempted)).where(Delivery.app_id == _APPS.c.app_id).scalar_subquery()
# Client apps with due deliveries, the least recently served first.
_LIST_APPS_DUE = select(_APPS.c.app_id).order_by(_SERVED)
_FIRST_DUE = _DUE.where(Delivery.app_id == _APP).order_by(Delivery.next_attempt, Delivery.created).limit(1)
# A lease that ends later than a new one was taken before the clock was set back: it does not count.
_COUNT_LEASED = select(func.count(Delivery.id)).where(Delivery.leased_until > _NOW, Delivery.leased_until <= _UNTIL)
_LEASE = (
    update(Delivery)
    .where(
        Delivery.id == _FIRST_DUE.correlate(None).with_for_update(skip_locked=True).scalar_subquery(),
        _IS_DUE,
        _COUNT_LEASED.where(Delivery.app_id == _APP).correlate(None).scalar_subquery() < APP_DELIVERIES,
        _COUNT_LEASED.correlate(None).scalar_subquery() < ALL_DELIVERIES,
    )
    .values(leased_until=_UNTIL, attempted=_NOW)
    .returning(Delivery)
    .execution_options(synchronize_session=False)
)
# The end of an attempt, if the delivery is still leased for it.
_RECORD = (
    update(Delivery)
    .where(Delivery.id == bindparam("delivery"), Delivery.leased_until == _UNTIL)
    .values(attempts=bindparam("tried"), http_status=bindparam("answer"), error=bindparam("fault"), leased_until=0.0)
    .returning(Delivery)
    .execution_options(synchronize_session=False)
)
_RECORD_SUCCESS = _RECORD.values(status=Status.DELIVERED, next_attempt=None)


@dataclass(frozen=True)
class Outcome:
    """Outcome of an attempt.

    Attributes:
        http_status: HTTP status of the answer; None without an answer.
        error: Reason why the attempt failed, in one sentence; None when it succeeded.
        retry_after: Seconds of the ``Retry-After`` header; None without one.
        seconds: Duration of the attempt.
    """

    http_status: int | None
    error: str | None
    retry_after: float | None
    seconds: float

    @property
    def requested_pause(self) -> float:
        """Seconds of ``Retry-After``, limited; 0 without one."""
        return min(self.retry_after or 0.0, LONGEST_RETRY_AFTER)


def enqueue(session: Session, job: Job, kind: Kind, to: Destination, body: str | None = None) -> bool:
    """Add a delivery in the transaction of the change that it reports; return whether it is new.

    Each kind is added once for each URL and run of the job (see ``jobs/states.py``), so a stage may repeat the call.
    Progress events are always added. A new result or end event supersedes pending ones of earlier runs.

    Args:
        session: Session of that transaction.
        job: Job of the delivery. The number of its retries is the number of the result.
        kind: Kind of the delivery.
        to: Destination.
        body: JSON of an event. The payload of a result is read from the job's files for each attempt.
    """
    is_progress = kind is Kind.PROGRESS
    message_id = (
        uuid.uuid4() if is_progress else uuid.uuid5(uuid.NAMESPACE_URL, f"{job.id} {job.retries} {kind} {to.url}")
    )
    if kind in REDELIVERABLE and job.retries:
        same_group = (Delivery.kind == Kind.RESULT) if kind is Kind.RESULT else Delivery.kind.in_(END_EVENTS)
        older = (Delivery.job_id == job.id) & same_group & (Delivery.result < job.retries)
        older &= Delivery.status == Status.PENDING
        session.execute(update(Delivery).where(older).values(status=Status.SUPERSEDED, next_attempt=None))
    if not is_progress and session.get(Delivery, message_id.hex) is not None:
        return False
    endpoint = find_suspended(session, job.app_id, to.endpoint)
    if endpoint and endpoint.closed and is_progress:
        return False
    session.add(build_delivery(message_id.hex, job, kind, to, endpoint, body=body))
    return True


def build_delivery(
    message_id: str, job: Job, kind: Kind, to: Destination, endpoint: Endpoint | None, **values: Any
) -> Delivery:
    """Return the row of a new delivery; ``endpoint`` is the row of its endpoint, if that is suspended."""
    closed = endpoint.closed if endpoint else None
    new = Delivery(id=message_id, job_id=job.id, app_id=job.app_id, kind=kind, result=job.retries, **values)
    new.url, new.endpoint, new.error = to.url, to.endpoint, closed
    new.status = Status.DISABLED if closed else Status.PENDING
    new.next_attempt = None if closed else max(time.time(), endpoint.paused_until if endpoint else 0.0)
    return new


class Outbox:
    """The deliveries in the database.

    Args:
        database: Database with the deliveries.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def lease_next(self, seconds: float) -> Delivery | None:
        """Lease the next due delivery; None when no attempt may be made now.

        Args:
            seconds: Duration of the lease. The delivery is due again when it ends without an outcome.
        """
        while True:
            with self._database.session() as session:
                delivery = _lease_first(session, seconds)
                if delivery is None or not find_suspended(session, delivery.app_id, delivery.endpoint):
                    return delivery
                session.execute(update(Delivery).where(_is_leased(delivery)).values(leased_until=0.0))
            with self._database.session() as session:
                postpone_deliveries(session, delivery.app_id, delivery.endpoint)

    def record(self, delivery: Delivery, outcome: Outcome) -> None:
        """Record the outcome of an attempt and schedule the next one.

        A success always counts, even if the job was cancelled or retried meanwhile. After a failure, a delivery stays
        cancelled, superseded or held back.
        """
        values = {"delivery": delivery.id, "until": delivery.leased_until, "tried": delivery.attempts + 1}
        values |= {"answer": outcome.http_status, "fault": outcome.error}
        with self._database.session() as session:
            # The write comes first, because it locks the row.
            row = session.scalars(_RECORD if outcome.error else _RECORD_SUCCESS, values).one_or_none()
            if row is None and session.get(Delivery, delivery.id) is None:  # a newer progress event replaced it
                return
            attempt = Attempt(delivery_id=delivery.id, http_status=outcome.http_status, error=outcome.error)
            attempt.at, attempt.seconds = time.time() - outcome.seconds, round(outcome.seconds, 3)
            session.add(attempt)
            if row is None:  # it was redelivered meanwhile, or leased again
                return
            delay = _schedule_retry(row, delivery.next_attempt, outcome) if outcome.error else None
            is_open = not outcome.error and not is_listed(session, delivery.app_id, delivery.endpoint)
        if not is_open:
            self._update_endpoint(delivery, outcome, delay)

    def _update_endpoint(self, delivery: Delivery, outcome: Outcome, delay: float | None) -> None:
        """Resume, pause or close the endpoint of a delivery after an attempt."""
        with self._database.session() as session:
            if outcome.error is None:
                resume_endpoint(session, delivery.app_id, delivery.endpoint)
            elif outcome.http_status == 410:
                suspend_endpoint(session, delivery.app_id, delivery.endpoint, closed=_explain_closure(delivery))
            elif outcome.http_status is None or outcome.requested_pause:
                pause = max(outcome.requested_pause, min(delay or LONGEST_PAUSE, LONGEST_PAUSE))
                suspend_endpoint(session, delivery.app_id, delivery.endpoint, paused_until=time.time() + pause)

    def end(self, delivery: Delivery, status: Status, reason: str) -> None:
        """End a leased delivery without an attempt."""
        values: dict[str, Any] = {"status": status, "error": reason, "next_attempt": None, "leased_until": 0.0}
        with self._database.session() as session:
            session.execute(update(Delivery).where(_is_leased(delivery)).values(**values))

    def redeliver(self, job_id: str) -> int:
        """Make the newest result and end event of a job due, with all attempts; return the number of deliveries.

        Their endpoints are opened again. Other deliveries that a closed endpoint disabled are then due, too.
        """
        newest = (Delivery.job_id == job_id) & Delivery.kind.in_(REDELIVERABLE) & ~_has_newer()
        endpoints = select(Delivery.app_id, Delivery.endpoint).where(newest).distinct()
        with self._database.session() as session:
            for app_id, url in session.execute(endpoints).all():
                resume_endpoint(session, app_id, url)
                _enqueue_disabled(session, app_id, url)
            return _make_due(session, newest)

    def count_due(self, limit: int) -> int:
        """Return the number of due deliveries, counted up to a limit."""
        with self._database.session() as session:
            return session.scalar(_COUNT_DUE, {"now": time.time(), "most": limit}) or 0

    def remove_old_attempts(self) -> int:
        """Remove records of attempts that are older than ``ATTEMPT_DAYS``; return their number."""
        with self._database.session() as session:
            return _count(session.execute(delete(Attempt).where(Attempt.at < time.time() - 86400 * ATTEMPT_DAYS)))

    def find_secret(self, app_id: int) -> str | None:
        """Return the secret that signs deliveries to a client app; None when it has none."""
        with self._database.session() as session:
            return session.scalar(select(Secret.secret).where(Secret.app_id == app_id))


def _lease_first(session: Session, seconds: float) -> Delivery | None:
    """Lease the first due delivery, within the limits of attempts in progress."""
    for app_id in session.scalars(_LIST_APPS_DUE, {"now": time.time()}).all():
        now = time.time()
        found = session.scalars(_LEASE, {"app": app_id, "now": now, "until": now + seconds}).one_or_none()
        if found:
            return found
    return None


def _schedule_retry(row: Delivery, due: float | None, outcome: Outcome) -> float | None:
    """Set the status and the next attempt after a failure; return the retry delay in seconds, or None without one.

    Args:
        row: Row of the delivery, with the attempt counted.
        due: ``next_attempt`` when the delivery was leased. If the row differs, the delivery was held back meanwhile.
        outcome: Outcome of the attempt.
    """
    delays = PROGRESS_RETRY_DELAYS if row.kind == Kind.PROGRESS else RETRY_DELAYS
    delay = max(delays[row.attempts - 1], outcome.requested_pause) if row.attempts <= len(delays) else None
    if row.status == Status.PENDING and row.next_attempt == due:
        row.status = Status.FAILED if delay is None else Status.PENDING
        row.next_attempt = None if delay is None else time.time() + delay
    return delay


def _is_leased(delivery: Delivery) -> ColumnElement[bool]:
    """Return the condition that a leased delivery is unchanged: not redelivered, cancelled or held back meanwhile."""
    same = (Delivery.leased_until == delivery.leased_until) & (Delivery.next_attempt == delivery.next_attempt)
    return (Delivery.id == delivery.id) & (Delivery.status == Status.PENDING) & same


def _explain_closure(delivery: Delivery) -> str:
    return (
        f"{delivery.endpoint} answered 410 and is closed: "
        "POST /jobs/<id>/redeliver of a job with a delivery to this address opens it again."
    )


def _enqueue_disabled(session: Session, app_id: int, url: str) -> None:
    """Make the disabled deliveries of an endpoint due, except progress events and outdated results."""
    disabled = (Delivery.app_id == app_id) & (Delivery.endpoint == url) & (Delivery.status == Status.DISABLED)
    outdated = (Delivery.kind == Kind.PROGRESS) | _has_newer()
    session.execute(update(Delivery).where(disabled, outdated).values(status=Status.SUPERSEDED))
    _make_due(session, disabled)


def _has_newer() -> ColumnElement[bool]:
    """Return the condition that the job of a delivery has a newer result or, for events, a newer end event."""
    other = aliased(Delivery)
    same_group = (other.kind == Kind.RESULT) == (Delivery.kind == Kind.RESULT)
    is_newer = (other.job_id == Delivery.job_id) & (other.result > Delivery.result) & other.kind.in_(REDELIVERABLE)
    return select(other.id).where(is_newer, same_group).exists()


def _make_due(session: Session, which: ColumnElement[bool]) -> int:
    values = {"status": Status.PENDING, "attempts": 0, "next_attempt": time.time(), "leased_until": 0.0}
    return _count(session.execute(update(Delivery).where(which).values(**values)))


def _count(result: Any) -> int:
    return cast(CursorResult[Any], result).rowcount
