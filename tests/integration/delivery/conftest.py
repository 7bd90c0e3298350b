"""A harness with an outbox, and dispatchers that send the payload of a test."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.database.sessions import Database
from app.database.tables import Attempt, Delivery, Endpoint, Job, Secret
from app.delivery.dispatcher import Dispatcher
from app.delivery.kinds import Kind
from app.delivery.outbox import Outbox, enqueue
from app.delivery.payloads import Destination, Payload, build_annotation_payload, build_event_payload
from app.net.addresses import AddressGuard

PAYLOAD = build_annotation_payload("ms-3", b"1 a.jpg\n", "best_04_2024", "17")


class Harness:
    """An outbox with its own database, and helpers that enqueue and inspect deliveries."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.outbox = Outbox(database)
        self.payload = PAYLOAD

    def load_payload(self, delivery: Delivery) -> Payload:
        return build_event_payload(delivery.body) if delivery.body else self.payload

    def dispatcher(
        self,
        timeout: float = 5,
        trusted: frozenset[str] = frozenset({"127.0.0.1"}),
        ca_bundle: Path | None = None,
    ) -> Dispatcher:
        guard = AddressGuard(trusted)
        return Dispatcher(self.outbox, self.load_payload, guard, "extractorAPI/test", timeout, ca_bundle)

    def enqueue(
        self, base: str, job_id: str = "job", app_id: int = 1, retries: int = 0, kind: Kind = Kind.RESULT
    ) -> Delivery:
        """Enqueue a delivery to ``base``; create its job if it does not exist. Return the job's newest delivery."""
        with self.database.session() as session:
            job = session.get(Job, job_id) or Job(id=job_id, app_id=app_id, kind="detection", request={}, state="done")
            job.retries = retries
            session.add(job)
            session.flush()
            to = Destination(f"{base}/{job_id}" if kind is Kind.RESULT else base, base)
            enqueue(session, job, kind, to, None if kind is Kind.RESULT else "{}")
        return self.find(job_id)[-1]

    def find(self, job_id: str = "job") -> list[Delivery]:
        with self.database.session() as session:
            return list(session.scalars(select(Delivery).where(Delivery.job_id == job_id).order_by(Delivery.created)))

    def reload(self, delivery: Delivery) -> Delivery:
        with self.database.session() as session:
            return session.get_one(Delivery, delivery.id)

    def list_attempts(self, delivery: Delivery) -> list[Attempt]:
        mine = select(Attempt).where(Attempt.delivery_id == delivery.id).order_by(Attempt.at)
        with self.database.session() as session:
            return list(session.scalars(mine))

    def make_due(self, *conditions: object) -> None:
        """Make pending deliveries due, and end the pauses of all endpoints."""
        pending = update(Delivery).where(Delivery.status == "pending", *conditions)  # type: ignore[arg-type]
        with self.database.session() as session:
            session.execute(pending.values(next_attempt=0, leased_until=0))
            session.execute(update(Endpoint).values(paused_until=0))

    def add_secret(self, secret: str, app_id: int = 1) -> None:
        with self.database.session() as session:
            session.add(Secret(app_id=app_id, secret=secret))


@pytest.fixture
def harness(database: Database) -> Harness:
    return Harness(database)


Deliver = Callable[[], bool]


@pytest.fixture
def deliver(harness: Harness) -> Deliver:
    """Return a function that makes one attempt at the next due delivery."""
    return harness.dispatcher().deliver_next
