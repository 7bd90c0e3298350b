"""The courier: takes the delivery whose turn it is to the client app, once, and writes down what came of it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import requests
import urllib3

from app.database.tables import Delivery
from app.delivery.kinds import Status
from app.delivery.outbox import Outbox, Outcome
from app.delivery.payloads import Payload, build_headers
from app.errors import AddressRefused, ResultGone
from app.logs import set_job
from app.net.addresses import AddressGuard
from app.net.transport import Deadline, GuardedSession, parse_retry_after, read_reason

log = logging.getLogger(__name__)

# Seconds beyond the time limit of a try after which it must have been recorded: a process that died in the middle
# records nothing, and the delivery is then free again. A write may wait 30 seconds for the database.
MARGIN = 40
# Answers that may say how long to wait.
_PAUSES = frozenset({429, 503})


@dataclass(frozen=True)
class _Answer:
    """What came back: the status when there was an answer, and what went wrong when something did."""

    http_status: int | None = None
    error: str | None = None
    retry_after: float | None = None


class Dispatcher:
    """Posts what is in the outbox.

    Args:
        outbox: Where deliveries wait and what came of them is kept.
        load_payload: Returns what a delivery carries; raises ``ResultGone``.
        guard: The addresses that may be reached.
        user_agent: Names the software.
        timeout: Seconds for a try.
    """

    def __init__(
        self,
        outbox: Outbox,
        load_payload: Callable[[Delivery], Payload],
        guard: AddressGuard,
        user_agent: str,
        timeout: float = 20,
    ) -> None:
        self._outbox = outbox
        self._load_payload = load_payload
        self._guard = guard
        self._user_agent = user_agent
        self._timeout = timeout

    def deliver_next(self) -> bool:
        """Try the delivery whose turn it is, once; return whether there was one."""
        delivery = self._outbox.lease_next(self._timeout + MARGIN)
        if delivery is None:
            return False
        set_job(delivery.job_id)
        started = time.monotonic()
        try:
            answer = self._post(delivery, self._load_payload(delivery))
        except ResultGone as error:
            self._outbox.end(delivery, Status.FAILED, error.message)
            return True
        except Exception as error:
            log.exception("delivery %s: a try failed", delivery.id)
            answer = _Answer(error=f"The server failed with {type(error).__name__}: its log has the details.")
        seconds = time.monotonic() - started
        log.info("delivery %s: %s to %s: %s", delivery.id, delivery.kind, delivery.url, answer.error or "arrived")
        self._outbox.record(delivery, Outcome(answer.http_status, answer.error, answer.retry_after, seconds))
        return True

    def _post(self, delivery: Delivery, payload: Payload) -> _Answer:
        url, late = delivery.url, f"{delivery.url} did not answer within {self._timeout:g} seconds."
        secret = self._outbox.find_secret(delivery.app_id)
        headers = {"User-Agent": self._user_agent, "Content-Type": payload.content_type}
        headers |= build_headers(delivery.id, payload.body, int(time.time()), secret)
        with (
            GuardedSession(self._guard) as session,
            Deadline(self._timeout, session.transport.abort) as deadline,
        ):
            try:
                answer = session.post(url, data=payload.body, headers=headers, timeout=self._timeout, stream=True)
            except AddressRefused as error:
                return _Answer(error=error.message)
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                slow = deadline.expired or isinstance(error, requests.Timeout)
                return _Answer(error=late if slow else f"{url} could not be reached ({type(error).__name__}).")
            answer.close()
        return _Answer(error=late) if deadline.expired else _read(url, answer)  # headers that were cut off look whole


def _read(url: str, answer: requests.Response) -> _Answer:
    status = answer.status_code
    if 200 <= status < 300:
        return _Answer(status)
    said = f"{url} answered {status} {read_reason(answer)}".rstrip()
    said += ": redirects are not followed." if 300 <= status < 400 else "."
    retry_after = parse_retry_after(answer.headers.get("Retry-After")) if status in _PAUSES else None
    return _Answer(status, said, retry_after)
