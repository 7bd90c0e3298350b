"""Endpoints: the addresses of client apps that want to be left alone, for a time or for good.

It is kept apart from the deliveries, and holds for those that are enqueued later too.
"""

import time
import uuid
from typing import Any

from sqlalchemy import delete, text, update
from sqlalchemy.orm import Session

from app.database.tables import Delivery, Endpoint
from app.delivery.kinds import Status

# The same words on SQLite and PostgreSQL: another courier may have been there just now.
_UPSERT = text(
    "INSERT INTO endpoints (id, app_id, url, rests_till, closed) VALUES (:id, :app_id, :url, :paused_until, :closed) "
    "ON CONFLICT (id) DO UPDATE SET rests_till = excluded.rests_till, closed = excluded.closed"
)


def find_suspended(session: Session, app_id: int, url: str) -> Endpoint | None:
    """Return what is known of an address of a client app; None when it may be posted to."""
    endpoint = session.get(Endpoint, _name(app_id, url))
    return endpoint if endpoint and (endpoint.closed or endpoint.paused_until > time.time()) else None


def suspend_endpoint(
    session: Session, app_id: int, url: str, paused_until: float = 0.0, closed: str | None = None
) -> None:
    """Send nothing to an address before a time, in seconds since the epoch; or, for a reason, nothing any more.

    Args:
        session: That has changed nothing yet: see :func:`postpone_deliveries`.
        app_id: The client app.
        url: The address.
        paused_until: The time.
        closed: The reason.
    """
    values = {"app_id": app_id, "url": url, "paused_until": paused_until, "closed": closed}
    session.execute(_UPSERT, {"id": _name(app_id, url), **values})
    postpone_deliveries(session, app_id, url)


def resume_endpoint(session: Session, app_id: int, url: str) -> None:
    """Post to an address again as if nothing had been."""
    if session.get(Endpoint, _name(app_id, url)):  # a write for each delivery that arrives would be one too many
        session.execute(delete(Endpoint).where(Endpoint.id == _name(app_id, url)))


def postpone_deliveries(session: Session, app_id: int, url: str) -> None:
    """Let all that waits for an address wait till it has rested; disable it when the address is closed.

    What is being tried is left to its courier, and what is held back for a newer result is not made due.

    Args:
        session: That has changed nothing yet. Two that change the same deliveries, in an order of their own, after
            one of them each, would wait for each other: this way the second waits for the first.
        app_id: The client app.
        url: The address.
    """
    endpoint = session.get(Endpoint, _name(app_id, url), with_for_update=True, populate_existing=True)
    if endpoint is None:
        return
    waits = (Delivery.app_id == app_id) & (Delivery.endpoint == url)
    waits &= (Delivery.status == Status.PENDING) & (Delivery.leased_until <= time.time())
    if endpoint.closed:
        values: dict[str, Any] = {"status": Status.DISABLED, "error": endpoint.closed, "next_attempt": None}
    else:
        waits &= Delivery.next_attempt < endpoint.paused_until
        values = {"next_attempt": endpoint.paused_until}
    session.execute(update(Delivery).where(waits).values(**values))


def _name(app_id: int, url: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{app_id} {url}").hex
