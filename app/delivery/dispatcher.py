"""The dispatcher: sends one delivery at a time to its client app and records the outcome."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from app.database.tables import Delivery
from app.delivery.kinds import Status
from app.delivery.outbox import Outbox, Outcome
from app.delivery.payloads import Payload, build_headers
from app.errors import AddressRefused, ResultGone
from app.logs import set_job
from app.net.addresses import AddressGuard
from app.net.transport import Deadline, GuardedSession, explain_certificate, parse_retry_after, read_reason

log = logging.getLogger(__name__)

# Seconds that a lease lasts beyond the time limit of an attempt. Recording the outcome may wait 30 s for the database.
# When the lease ends without an outcome, the process has died, and the delivery is due again.
LEASE_MARGIN = 40
# Statuses whose Retry-After header is used.
_RETRY_AFTER_STATUSES = frozenset({429, 503})


@dataclass(frozen=True)
class _Answer:
    """Answer of a client app.

    Attributes:
        http_status: HTTP status; None without an answer.
        error: Reason why the attempt failed; None after a 2xx.
        retry_after: Seconds of the Retry-After header.
    """

    http_status: int | None = None
    error: str | None = None
    retry_after: float | None = None


class Dispatcher:
    """Sends the deliveries of the outbox.

    Args:
        outbox: Outbox with the deliveries.
        load_payload: Function that returns the payload of a delivery, or raises ``ResultGone``.
        guard: Guard that decides which addresses may be connected to.
        user_agent: ``User-Agent`` header.
        timeout: Time limit of an attempt in seconds.
        ca_bundle: File with certificate authorities to trust in addition to the public ones.
    """

    def __init__(
        self,
        outbox: Outbox,
        load_payload: Callable[[Delivery], Payload],
        guard: AddressGuard,
        user_agent: str,
        timeout: float = 20,
        ca_bundle: Path | None = None,
    ) -> None:
        self._outbox = outbox
        self._load_payload = load_payload
        self._guard = guard
        self._user_agent = user_agent
        self._timeout = timeout
        self._ca_bundle = ca_bundle

    def deliver_next(self, begin: Callable[[Delivery], None] = lambda _: None) -> bool:
        """Make one attempt at the next due delivery; return whether there was one.

        Args:
            begin: Called with the delivery before the attempt.
        """
        delivery = self._outbox.lease_next(self._timeout + LEASE_MARGIN)
        if delivery is None:
            return False
        begin(delivery)
        set_job(delivery.job_id)
        started = time.monotonic()
        try:
            answer = self._post(delivery, self._load_payload(delivery))
        except ResultGone as error:
            self._outbox.end(delivery, Status.FAILED, error.message)
            return True
        except Exception as error:
            log.exception("delivery %s: unexpected error in an attempt", delivery.id)
            answer = _Answer(error=f"The server failed with {type(error).__name__}: its log has the details.")
        seconds = time.monotonic() - started
        log.info("delivery %s: %s to %s: %s", delivery.id, delivery.kind, delivery.url, answer.error or "delivered")
        self._outbox.record(delivery, Outcome(answer.http_status, answer.error, answer.retry_after, seconds))
        return True

    def _post(self, delivery: Delivery, payload: Payload) -> _Answer:
        url, late = delivery.url, f"{delivery.url} did not answer within {self._timeout:g} seconds."
        secret = self._outbox.find_secret(delivery.app_id)
        headers = {"User-Agent": self._user_agent, "Content-Type": payload.content_type}
        headers |= build_headers(delivery.id, payload.body, int(time.time()), secret)
        with (
            GuardedSession(self._guard, self._ca_bundle) as session,
            Deadline(self._timeout, session.transport.abort) as deadline,
        ):
            try:
                answer = session.post(url, data=payload.body, headers=headers, timeout=self._timeout, stream=True)
            except AddressRefused as error:
                return _Answer(error=error.message)
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                slow = deadline.expired or isinstance(error, requests.Timeout)
                fault = explain_certificate(error)
                reason = f"{url} has {fault}." if fault else f"{url} could not be reached ({type(error).__name__})."
                return _Answer(error=late if slow else reason)
            answer.close()
        # If the deadline closed the connection within the headers, they look complete.
        return _Answer(error=late) if deadline.expired else _read(url, answer)


def _read(url: str, answer: requests.Response) -> _Answer:
    status = answer.status_code
    if 200 <= status < 300:
        return _Answer(status)
    message = f"{url} answered {status} {read_reason(answer)}".rstrip()
    message += ": redirects are not followed." if 300 <= status < 400 else "."
    retry_after = parse_retry_after(answer.headers.get("Retry-After")) if status in _RETRY_AFTER_STATUSES else None
    return _Answer(status, message, retry_after)
