"""Posting results to client apps: one try at a time, its outcome recorded, tried again with growing waits.

A client app that is down never fails or delays a job: the result stays here, where it can be fetched or sent again.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import requests
import urllib3
from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import IntegrityError

from app.addresses import AddressGuard
from app.database import Database, Delivery
from app.errors import AddressRefused
from app.transport import Deadline, GuardedSession

# Seconds before the second try, the third …: three days in all, as the Standard Webhooks specification proposes
# (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
WAITS = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


@dataclass(frozen=True)
class Parcel:
    """A result ready to be posted.

    Attributes:
        fields: Form fields.
        files: Field name → (file name, content).
    """

    fields: Mapping[str, str]
    files: Mapping[str, tuple[str, bytes]]


def build_annotation_url(callback: str, client_app_url: str, manifest_ref: str) -> str:
    """Return where the annotations of a manifest go; "" when neither the request nor the settings name a place."""
    base = callback.rstrip("/") or (f"{client_app_url}/annotate" if client_app_url else "")
    return f"{base}/{quote(manifest_ref, safe='')}" if base else ""


def build_annotation_parcel(manifest_ref: str, annotations: bytes, model_label: str, experiment_id: str) -> Parcel:
    """Return the annotation file as client apps expect it."""
    fields = {"model": model_label} | ({"experiment_id": experiment_id} if experiment_id else {})
    return Parcel(fields, {"annotation_file": (f"{manifest_ref}.txt", annotations)})


class Courier:
    """Posts parcels and keeps the record.

    Args:
        database: Where deliveries are recorded.
        guard: The addresses that may be reached.
        user_agent: Names the software.
        timeout: Seconds for a try.
    """

    def __init__(self, database: Database, guard: AddressGuard, user_agent: str, timeout: float = 20) -> None:
        self._database = database
        self._guard = guard
        self._user_agent = user_agent
        self._timeout = timeout

    def enlist(self, job_id: str, url: str, result: int = 0) -> Delivery:
        """Return the delivery of a job's result to an address, recorded if it is new, however often this is asked.

        A delivery that carries an older result of the job, whatever became of it, is made anew under another id.
        """
        with suppress(IntegrityError), self._database.session() as session:
            session.add(Delivery(id=uuid.uuid4().hex, job_id=job_id, url=url, result=result))
        mine = (Delivery.job_id == job_id) & (Delivery.url == url)
        new = {
            "id": uuid.uuid4().hex,
            "result": result,
            "status": "pending",
            "attempts": 0,
            "next_attempt": time.time(),
        }
        with self._database.session() as session:
            session.execute(update(Delivery).where(mine, Delivery.result < result).values(**new))
            return session.scalars(select(Delivery).where(mine)).one()

    def attempt(self, delivery: Delivery, parcel: Parcel) -> None:
        """Try a delivery once, if it is due and nobody else tries it now."""
        # Should this process die in the middle, the delivery is due again after that.
        reserved = time.time() + self._timeout + 60
        due = (Delivery.status == "pending") & (Delivery.next_attempt <= time.time())
        if not self._update(delivery.id, due, next_attempt=reserved):
            return
        status, error = self._post(delivery.url, parcel)
        arrived = status is not None and 200 <= status < 300
        attempts = delivery.attempts + 1
        later = time.time() + WAITS[attempts - 1] if not arrived and attempts <= len(WAITS) else None
        outcome = "delivered" if arrived else "pending" if later else "failed"
        # A delivery that was renewed or cancelled meanwhile is no longer this try's to record.
        mine = (Delivery.status == "pending") & (Delivery.next_attempt == reserved)
        values = {"attempts": attempts, "http_status": status, "error": error, "next_attempt": later}
        self._update(delivery.id, mine, status=outcome, **values)

    def give_up(self, job_id: str, reason: str) -> None:
        """End the pending deliveries of a job that can no longer be made."""
        pending = (Delivery.job_id == job_id) & (Delivery.status == "pending")
        with self._database.session() as session:
            session.execute(update(Delivery).where(pending).values(status="failed", error=reason, next_attempt=None))

    def find_due(self) -> Sequence[Delivery]:
        """Return the deliveries whose next try is due."""
        due = select(Delivery).where(Delivery.status == "pending", Delivery.next_attempt <= time.time())
        with self._database.session() as session:
            return session.scalars(due.limit(1000)).all()

    def renew(self, job_id: str) -> int:
        """Make every delivery of a job due now, with all its tries; return how many there are."""
        values = {"status": "pending", "attempts": 0, "next_attempt": time.time()}
        with self._database.session() as session:
            result = session.execute(update(Delivery).where(Delivery.job_id == job_id).values(**values))
        return cast(CursorResult[Any], result).rowcount

    def _update(self, delivery_id: str, *conditions: Any, **values: Any) -> bool:
        with self._database.session() as session:
            result = session.execute(update(Delivery).where(Delivery.id == delivery_id, *conditions).values(**values))
        return cast(CursorResult[Any], result).rowcount == 1

    def _post(self, url: str, parcel: Parcel) -> tuple[int | None, str | None]:
        """Return the HTTP status of an answer, and what went wrong."""
        late = f"{url} did not answer within {self._timeout:g} seconds."
        with (
            GuardedSession(self._guard) as session,
            Deadline(self._timeout, session.transport.abort) as deadline,
        ):
            try:
                answer = session.post(
                    url,
                    data=dict(parcel.fields),
                    files=dict(parcel.files),
                    headers={"User-Agent": self._user_agent},
                    timeout=self._timeout,
                    stream=True,
                )
            except AddressRefused as error:
                return None, error.message
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                slow = deadline.expired or isinstance(error, requests.Timeout)
                return None, late if slow else f"{url} could not be reached ({type(error).__name__})."
            answer.close()
        if deadline.expired:  # headers that were cut off look whole
            return None, late
        if 200 <= answer.status_code < 300:
            return answer.status_code, None
        return answer.status_code, f"{url} answered {answer.status_code} {answer.reason or ''}".rstrip() + "."
