"""Suspended endpoints: callback URLs of client apps to which nothing is sent at present.

An endpoint is *paused* until a time (after no answer, a 429 or a 503), or *closed* (after a 410). A suspension also
holds for deliveries that are enqueued later. An endpoint that works has no row.
"""

import time
import uuid
from typing import Any

from sqlalchemy import delete, text, update
from sqlalchemy.orm import Session

from app.database.sessions import Database
from app.database.tables import Delivery, Endpoint
from app.delivery.kinds import Status

# An upsert, because another dispatcher may suspend the same endpoint. SQLite and PostgreSQL share this syntax.
_UPSERT = text(
    "INSERT INTO endpoints (id, app_id, url, rests_till, closed) VALUES (:id, :app_id, :url, :paused_until, :closed) "
    "ON CONFLICT (id) DO UPDATE SET rests_till = excluded.rests_till, closed = excluded.closed"
)


def find_suspended(session: Session, app_id: int, url: str) -> Endpoint | None:
    """Return the row of a suspended endpoint; None when the endpoint is open."""
    endpoint = session.get(Endpoint, _build_id(app_id, url))
    return endpoint if endpoint and (endpoint.closed or endpoint.paused_until > time.time()) else None


def is_listed(session: Session, app_id: int, url: str) -> bool:
    """Return whether an endpoint has a row: it is suspended, or was until its pause ended."""
    return session.get(Endpoint, _build_id(app_id, url)) is not None


def suspend_endpoint(
    session: Session, app_id: int, url: str, paused_until: float = 0.0, closed: str | None = None
) -> None:
    """Pause or close an endpoint, and postpone or disable its deliveries.

    Args:
        session: Session without changes so far: see :func:`postpone_deliveries`.
        app_id: ID of the client app.
        url: URL of the endpoint.
        paused_until: End of the pause in seconds since the epoch.
        closed: Reason for closing the endpoint; None to pause it.
    """
    values = {"app_id": app_id, "url": url, "paused_until": paused_until, "closed": closed}
    session.execute(_UPSERT, {"id": _build_id(app_id, url), **values})
    postpone_deliveries(session, app_id, url)


def resume_endpoint(session: Session, app_id: int, url: str) -> None:
    """Open an endpoint again."""
    if is_listed(session, app_id, url):  # avoids a write after every delivery that succeeds
        session.execute(delete(Endpoint).where(Endpoint.id == _build_id(app_id, url)))


def remove_ended_pauses(database: Database) -> None:
    """Remove the rows of endpoints whose pause has ended. An endpoint that never answers again leaves such a row."""
    with database.session() as session:
        session.execute(delete(Endpoint).where(Endpoint.closed.is_(None), Endpoint.paused_until < time.time()))


def postpone_deliveries(session: Session, app_id: int, url: str) -> None:
    """Postpone the pending deliveries of a paused endpoint; disable those of a closed one.

    Leased deliveries are left to their dispatcher. Deliveries that are held back stay so.

    Args:
        session: Session without changes so far. It locks the endpoint's row first, so that two sessions that change
            the same deliveries wait for each other here and cannot deadlock.
        app_id: ID of the client app.
        url: URL of the endpoint.
    """
    endpoint = session.get(Endpoint, _build_id(app_id, url), with_for_update=True, populate_existing=True)
    if endpoint is None:
        return
    pending = (Delivery.app_id == app_id) & (Delivery.endpoint == url)
    pending &= (Delivery.status == Status.PENDING) & (Delivery.leased_until <= time.time())
    if endpoint.closed:
        values: dict[str, Any] = {"status": Status.DISABLED, "error": endpoint.closed, "next_attempt": None}
    else:
        pending &= Delivery.next_attempt < endpoint.paused_until
        values = {"next_attempt": endpoint.paused_until}
    session.execute(update(Delivery).where(pending).values(**values))


def _build_id(app_id: int, url: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{app_id} {url}").hex
