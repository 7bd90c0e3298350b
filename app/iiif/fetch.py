"""Fetching over HTTP: bounded, polite, and with errors that say what happened.

This is the boundary of ``requests``: nothing of it passes through but :class:`~app.errors.FetchError`.
"""

import contextlib
import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

import requests
import urllib3

from app.errors import FetchError
from app.iiif.host_limits import HostLimits
from app.iiif.hosts import HostRules
from app.iiif.image_requests import ImageRequest
from app.images.formats import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, check_image
from app.net.addresses import LONGEST_URL, AddressGuard, read_host
from app.net.transport import Deadline, GuardedSession, parse_retry_after, read_reason

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
# Too much was asked of the whole server, not of this address: everybody waits.
_OVERLOAD = frozenset({429, 503, 509})
# A form of an image request that this server does not serve; another may do.
_WRONG_FORM = frozenset({400, 403, 404, 405, 501})
_CHUNK = 1 << 16


@dataclass(frozen=True)
class FetchPolicy:
    """The bounds of every request. Times in seconds.

    Attributes:
        user_agent: Names the software and whom to write to.
        attempts: For a document or an image, at most so many.
        timeout: Without a byte.
        deadline: For one whole answer: 64 MB at 3 Mbit/s.
        retry_after_limit: Longest wait that a server may ask for; a longer one fails the request.
        backoff: Before the second attempt; doubled before each later one.
        max_document_bytes: Of a manifest or a list: 5000 canvases of 12 kB.
    """

    user_agent: str = "extractorAPI"
    attempts: int = 5
    timeout: float = 20.0
    deadline: float = 180.0
    retry_after_limit: float = 120.0
    backoff: float = 1.0
    max_redirects: int = 5
    max_document_bytes: int = 64_000_000
    max_image_bytes: int = MAX_IMAGE_BYTES
    max_image_pixels: int = MAX_IMAGE_PIXELS


class Fetcher:
    """A polite HTTP client for manifests and images. Threads may share one.

    Args:
        policy: The bounds of a request.
        limits: Turns at each host; share one among the fetchers of a process.
        guard: The addresses that may be reached.
        count: Told the host of each answer and the bytes that came, whatever became of it.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        limits: HostLimits,
        guard: AddressGuard,
        count: Callable[[str, int], None] = lambda host, size: None,
    ) -> None:
        self.policy = policy
        self._limits = limits
        self._guard = guard
        self._count = count
        self._local = threading.local()
        # A large page takes half a gigabyte while it is decoded, and a core.
        self._decoders = threading.Semaphore(os.cpu_count() or 1)

    @property
    def rules(self) -> HostRules:
        return self._limits.rules

    def fetch_document(self, url: str) -> bytes:
        """Return a JSON document (a manifest, an ``info.json``).

        Raises:
            FetchError: It did not come, and why.
        """
        accept = "application/ld+json, application/json, */*;q=0.5"
        return self._fetch([ImageRequest(url, 0)], self.policy.max_document_bytes, accept)[1]

    def fetch_image(self, forms: Sequence[ImageRequest]) -> tuple[bytes, int, int]:
        """Return an image file, decoded once to prove it whole, with its width and height.

        Args:
            forms: Of the request for one image, the best first: a server may know some of them only.

        Raises:
            FetchError: It did not come, and why.
            NotAnImage: What came is not an image, is damaged, or is too large.
        """
        url, data = self._fetch(forms, self.policy.max_image_bytes, "image/jpeg, image/*;q=0.8")
        with self._decoders:
            width, height = check_image(data, url, self.policy.max_image_pixels)
        return data, width, height

    def _fetch(self, forms: Sequence[ImageRequest], max_bytes: int, accept: str) -> tuple[str, bytes]:
        """Try until one form comes, the server says a final no to each, or the attempts are used up."""
        waiting, attempt = deque(forms), 1
        while True:
            try:
                return waiting[0].url, self._follow(waiting[0], max_bytes, accept)
            except _Retriable as failure:
                if attempt == self.policy.attempts:
                    message = f"{failure.error.message} Tried {attempt} times."
                    raise FetchError(message, failure.error.http_status, temporary=True) from failure
                if failure.error.http_status == 500:
                    waiting.rotate(-1)  # some servers fail so at a form that they do not know
                self._wait(attempt, failure)
                attempt += 1
            except FetchError as error:
                if error.http_status not in _WRONG_FORM or len(waiting) == 1:
                    raise
                waiting.popleft()

    def _follow(self, request: ImageRequest, max_bytes: int, accept: str) -> bytes:
        target = request.url
        for _ in range(self.policy.max_redirects + 1):
            if len(target) > LONGEST_URL:
                raise FetchError(f"{target[:100]}… is an address of more than {LONGEST_URL} characters.")
            with self._limits.slot(read_host(target), request.longest):
                body, location = self._attempt(target, max_bytes, accept)
            if location is None:
                return body
            target = location
        raise FetchError(f"{request.url} redirects more than {self.policy.max_redirects} times.")

    def _attempt(self, url: str, max_bytes: int, accept: str) -> tuple[bytes, str | None]:
        """Return the body of the answer, or where it sends us. Errors of ``requests`` end here."""
        session = self._session()
        headers = {"User-Agent": self.policy.user_agent, "Accept": accept}
        late = _Retriable(url, f"{url} did not come whole within {self.policy.deadline:g} seconds.")
        with Deadline(self.policy.deadline, session.transport.abort) as deadline:
            try:
                response = session.get(url, headers=headers, stream=True, timeout=self.policy.timeout)
                with response, self._counted(url, response):
                    # The session's own method says None, so that requests follows nothing.
                    location = requests.Session.get_redirect_target(session, response)
                    if location is not None:
                        return b"", urljoin(url, location)
                    _check_status(url, response)
                    body = _read_body(url, response, max_bytes)
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                raise late if deadline.expired else self._translate(url, error) from error
            if deadline.expired:
                raise late
            return body, None

    @contextlib.contextmanager
    def _counted(self, url: str, response: requests.Response) -> Iterator[None]:
        try:
            yield
        finally:
            self._count(read_host(url), response.raw.tell())

    def _translate(self, url: str, error: Exception) -> Exception:
        """Return what an error of ``requests`` means: final, or worth another try."""
        if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
            return _Retriable(url, f"{url} did not answer within {self.policy.timeout:g} seconds.")
        if isinstance(error, ValueError):  # InvalidURL, InvalidSchema, and what urllib3 and the codecs say of such
            return FetchError(f"{url} is not a web address that can be fetched.")
        if invalid := re.search(r"certificate verify failed: ([^(]*[^( ])", str(error)):
            return FetchError(f"{url} has no valid certificate ({invalid[1]}).")
        return _Retriable(url, f"{url} could not be reached ({_first_line(error)}).")

    def _wait(self, attempt: int, failure: "_Retriable") -> None:
        # Jitter: clients that failed together do not come back together.
        wait = self.policy.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)
        if failure.error.http_status not in _OVERLOAD and failure.retry_after is None:
            time.sleep(wait)
        else:
            # A date in the past, from a clock that is wrong, still asks for a pause.
            pause = max(wait, min(failure.retry_after or 0.0, self.policy.retry_after_limit))
            self._limits.pause(read_host(failure.url), pause)

    def _session(self) -> GuardedSession:
        # A session is not made for several threads: each thread has its own.
        if not hasattr(self._local, "session"):
            self._local.session = GuardedSession(self._guard)
        return self._local.session


class _Retriable(Exception):
    """A failure that may pass."""

    def __init__(self, url: str, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.error = FetchError(message, status)
        self.retry_after = retry_after


def _check_status(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    message = f"{url} answered {status} {read_reason(response)}".rstrip() + "."
    if status in TRY_AGAIN:
        raise _Retriable(url, message, status, parse_retry_after(response.headers.get("Retry-After")))
    raise FetchError(message, status)


def _read_body(url: str, response: requests.Response, max_bytes: int) -> bytes:
    """Read a body within its bounds; one that ends before its announced length is an error of urllib3."""
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > max_bytes:
            raise FetchError(f"{url} is larger than {max_bytes / 1e6:.3g} MB.")
    return bytes(body)


def _first_line(error: BaseException) -> str:
    cause: object = error.args[0] if error.args else error
    reason = getattr(cause, "reason", None) or cause
    text = str(reason).rpartition(": ")[2] or type(error).__name__
    return text.splitlines()[0][:120]
