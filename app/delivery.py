"""Posting results to client apps: one try at a time, its outcome recorded, tried again with growing waits.

A client app that is down never fails or delays a job: the result stays here, where it can be fetched or sent again.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import requests
import urllib3
from sqlalchemy import CursorResult, select, update

from app.addresses import AddressGuard, GuardedSession
from app.database import Database, Delivery
from app.errors import AddressRefused

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

    def enlist(self, job_id: str, url: str) -> Delivery:
        """Return the delivery of a job to an address, recorded if it is new: a job has one, however often it runs."""
        with self._database.session() as session:
            known = session.scalar(select(Delivery).where(Delivery.job_id == job_id, Delivery.url == url))
            delivery = known or Delivery(id=uuid.uuid4().hex, job_id=job_id, url=url)
            session.add(delivery)
        return delivery

    def attempt(self, delivery: Delivery, parcel: Parcel) -> bool:
        """Try a delivery once, if it is due and nobody else tries it now; return whether it has arrived."""
        if not self._reserve(delivery):
            return delivery.status == "delivered"
        status, error = self._post(delivery.url, parcel)
        arrived = status is not None and 200 <= status < 300
        attempts = delivery.attempts + 1
        later = time.time() + WAITS[attempts - 1] if not arrived and attempts <= len(WAITS) else None
        outcome = "delivered" if arrived else "pending" if later else "failed"
        self._update(
            delivery.id, status=outcome, attempts=attempts, http_status=status, error=error, next_attempt=later
        )
        return arrived

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

    def _reserve(self, delivery: Delivery) -> bool:
        """Keep others away while a try runs; should this process die, the delivery is due again after that."""
        due = (Delivery.status == "pending") & (Delivery.next_attempt <= time.time())
        return self._update(delivery.id, due, next_attempt=time.time() + 2 * self._timeout)

    def _update(self, delivery_id: str, *conditions: Any, **values: Any) -> bool:
        with self._database.session() as session:
            result = session.execute(update(Delivery).where(Delivery.id == delivery_id, *conditions).values(**values))
        return cast(CursorResult[Any], result).rowcount == 1

    def _post(self, url: str, parcel: Parcel) -> tuple[int | None, str | None]:
        """Return the HTTP status of an answer, and what went wrong."""
        with GuardedSession(self._guard) as session:
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
                return None, f"{url} could not be reached ({type(error).__name__})."
            answer.close()
        if 200 <= answer.status_code < 300:
            return answer.status_code, None
        return answer.status_code, f"{url} answered {answer.status_code} {answer.reason or ''}".rstrip() + "."
