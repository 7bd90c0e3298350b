"""HTTP client for manifests and images, with rate limits, retries and size limits.

Errors of ``requests`` do not leave this module: callers only see :class:`~app.errors.FetchError`.
"""

import contextlib
import math
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from app.errors import FetchError
from app.iiif.host_limits import HostLimits
from app.iiif.hosts import HostRules
from app.iiif.image_requests import ImageRequest
from app.iiif.responses import RETRIABLE_STATUSES, Body, FileBody, MemoryBody, Retriable, build_late, check_status
from app.images.formats import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, check_image
from app.net.addresses import LONGEST_URL, AddressGuard, read_host
from app.net.transport import Deadline, GuardedSession, explain_certificate
from app.net.urls import make_requestable, resolve_location

# The server is overloaded: pause all requests to the host, not only this one.
_OVERLOAD = frozenset({429, 503, 509})
# The server may not support this form of an image request, or may restrict it: try the next form.
WRONG_FORM = frozenset({*range(400, 500), 501}) - RETRIABLE_STATUSES
# Sessions that are kept for later requests, and the seconds for which: routers forget idle connections after minutes.
_MOST_IDLE, _IDLE_SECONDS = 32, 60.0
Statuses = frozenset[int]
_OK: Statuses = frozenset({200})
_JSON = "application/ld+json, application/json, */*;q=0.5"
_NO_ADDRESS = "is not a web address: it must be a valid http:// or https:// URL."


@dataclass(frozen=True)
class FetchPolicy:
    """Limits of every request. Times are in seconds.

    Attributes:
        user_agent: Name of the software and contact address, sent with each request.
        attempts: Maximum number of attempts for a document or an image.
        timeout: Longest time without receiving a byte.
        deadline: Longest time for a complete response: enough for 64 MB at 3 Mbit/s.
        retry_after_limit: Longest pause after a ``Retry-After``; longer ones are capped.
        backoff: Pause before the second attempt; doubled before each later one.
        total: Longest time for all attempts and redirects, including the waits for a slot of the host.
        max_document_bytes: Largest manifest or list: 5000 canvases of 12 kB.
    """

    user_agent: str = "extractorAPI"
    attempts: int = 5
    timeout: float = 20.0
    deadline: float = 180.0
    retry_after_limit: float = 120.0
    backoff: float = 1.0
    total: float = math.inf
    max_redirects: int = 5
    max_document_bytes: int = 64_000_000
    max_image_bytes: int = MAX_IMAGE_BYTES
    max_image_pixels: int = MAX_IMAGE_PIXELS


@dataclass(frozen=True)
class Response:
    """The response to a request.

    Attributes:
        request: Request that succeeded.
        url: URL that answered, after redirects.
        status: HTTP status: 200, or another one that the caller accepts.
        body: Content.
    """

    request: ImageRequest
    url: str
    status: int
    body: bytes


@dataclass(frozen=True)
class ImageFile:
    """A complete image file: the request that returned it, its content, and its size in pixels."""

    request: ImageRequest
    data: bytes
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


class Fetcher:
    """HTTP client for manifests and images that respects the rate limits of each host. Threads may share one.

    Args:
        policy: Limits of a request.
        limits: Rate limits of the hosts; all fetchers of a process share one instance.
        guard: Check of the network addresses that may be reached.
        count: Called with the host and the number of bytes received after each response, successful or not.
        ca_bundle: File with certificate authorities to trust in addition to the public ones.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        limits: HostLimits,
        guard: AddressGuard,
        count: Callable[[str, int], None] = lambda host, size: None,
        ca_bundle: Path | None = None,
    ) -> None:
        self.policy = policy
        self._limits = limits
        self._guard = guard
        self._count = count
        self._ca_bundle = ca_bundle
        self._idle: deque[tuple[float, GuardedSession]] = deque(maxlen=_MOST_IDLE)
        # Decoding a large page takes half a gigabyte of memory and one core.
        self.decoders = threading.Semaphore(os.cpu_count() or 1)

    @property
    def rules(self) -> HostRules:
        return self._limits.rules

    def fetch_document(self, url: str, check: Callable[[bytes], None] = lambda _: None) -> bytes:
        """Fetch a JSON document, such as a manifest.

        Args:
            url: URL of the document.
            check: Called with its first bytes; raises to stop.

        Raises:
            FetchError: The document could not be fetched.
        """
        return self._fetch_document(url, MemoryBody(self.policy.max_document_bytes, check)).body

    def fetch_file(
        self,
        url: str,
        path: Path,
        max_file_bytes: int,
        is_file: Callable[[bytes], bool],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Fetch a document or a large file to a path.

        Args:
            url: URL of the document.
            path: Path of the file, which appears when it is complete.
            max_file_bytes: Largest size of a large file. Other documents have the limit of the policy.
            is_file: Function that recognises a large file by its first bytes.
            tick: Called repeatedly; raises to stop.

        Raises:
            FetchError: The document could not be fetched.
            NoSpace: The disk is full.
        """
        self._fetch_document(url, FileBody(path, self.policy.max_document_bytes, max_file_bytes, is_file, tick))

    def _fetch_document(self, url: str, body: Body) -> Response:
        try:
            return self._fetch([ImageRequest(url, 0)], body, _JSON)
        except FetchError as error:
            if error.http_status not in (404, 406):
                raise
        # Some resolvers know the address for browsers only, which accept everything.
        return self._fetch([ImageRequest(url, 0)], body, "*/*")

    def fetch_response(self, url: str, accepted: Statuses) -> Response:
        """Fetch a JSON document. Each of the ``accepted`` statuses has a useful body.

        Raises:
            FetchError: The document could not be fetched.
        """
        return self._fetch([ImageRequest(url, 0)], MemoryBody(self.policy.max_document_bytes), _JSON, accepted)

    def fetch_image(self, forms: Sequence[ImageRequest]) -> ImageFile:
        """Fetch an image file. It is decoded once to check it.

        Args:
            forms: Equivalent requests for the image, the best first; a server may support only some of them.

        Raises:
            FetchError: The image could not be fetched.
            NotAnImage: The response is not an image, is damaged, or has too many pixels.
        """
        response = self._fetch(forms, MemoryBody(self.policy.max_image_bytes), "image/jpeg, image/*;q=0.8")
        with self.decoders:
            size = check_image(response.body, response.request.url, self.policy.max_image_pixels)
        return ImageFile(response.request, response.body, *size)

    def _fetch(self, forms: Sequence[ImageRequest], body: Body, accept: str, accepted: Statuses = _OK) -> Response:
        """Try the forms until one succeeds, the server rejects all, or no attempts are left."""
        waiting, attempt, end = deque(forms), 1, time.monotonic() + self.policy.total
        while True:
            try:
                return self._follow(waiting[0], body, accept, accepted, end)
            except Retriable as failure:
                if attempt == self.policy.attempts:
                    message = f"{failure.error.message} Tried {attempt} times."
                    raise FetchError(message, failure.error.http_status, temporary=True) from failure
                if failure.error.http_status == 500:
                    waiting.rotate(-1)  # some servers answer 500 to a form that they do not support
                self._wait(attempt, failure)
                attempt += 1
            except FetchError as error:
                if error.http_status not in WRONG_FORM or len(waiting) == 1:
                    raise
                waiting.popleft()

    def _follow(self, request: ImageRequest, body: Body, accept: str, accepted: Statuses, end: float) -> Response:
        try:
            target = make_requestable(request.url)
        except ValueError as error:
            raise FetchError(f"{request.url} {_NO_ADDRESS}") from error
        for _ in range(self.policy.max_redirects + 1):
            if len(target) > LONGEST_URL:
                raise FetchError(f"{target[:100]}… is too long: a URL may have at most {LONGEST_URL} characters.")
            with self._limits.slot(read_host(target), request.longest, end - time.monotonic()):
                limit = min(self.policy.deadline, max(0.1, end - time.monotonic()))
                answer = self._attempt(target, body, accept, accepted, limit)
            if not isinstance(answer, str):
                return Response(request, target, *answer)
            try:
                target = resolve_location(target, answer)
            except ValueError as error:
                raise FetchError(f"{request.url} redirects to {answer[:200]}, which is not a web address.") from error
        raise FetchError(f"{request.url} redirects more than {self.policy.max_redirects} times.")

    def _attempt(self, url: str, body: Body, accept: str, accepted: Statuses, limit: float) -> tuple[int, bytes] | str:
        """Send one request. Return the status and the body, or the header ``Location`` of a redirect."""
        headers = {"User-Agent": self.policy.user_agent, "Accept": accept}
        with self._session() as session, Deadline(limit, session.transport.abort) as deadline:
            try:
                response = session.get(url, headers=headers, stream=True, timeout=self.policy.timeout)
                with response, self._counted(url, response):
                    if response.is_redirect:
                        return str(response.headers["Location"])
                    check_status(url, response, accepted)
                    content = body.receive(url, response, deadline)
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                raise build_late(url, deadline) if deadline.expired else self._translate(url, error) from error
            if deadline.expired:
                raise build_late(url, deadline)
            return response.status_code, content

    @contextlib.contextmanager
    def _counted(self, url: str, response: requests.Response) -> Iterator[None]:
        try:
            yield
        finally:
            self._count(read_host(url), response.raw.tell())

    def _translate(self, url: str, error: Exception) -> Exception:
        """Translate an error of ``requests`` into a permanent or a retriable one."""
        if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
            return Retriable(url, f"{url} did not answer within {self.policy.timeout:g} seconds.")
        if isinstance(error, ValueError):  # InvalidURL, InvalidSchema, and similar errors of urllib3 and the codecs
            return FetchError(f"{url} {_NO_ADDRESS}")
        if fault := explain_certificate(error):
            return FetchError(f"{url} has {fault}.")
        return Retriable(url, f"{url} could not be fetched ({_first_line(error)}).")

    def _wait(self, attempt: int, failure: "Retriable") -> None:
        # Jitter keeps clients that failed at the same time from retrying at the same time.
        wait = self.policy.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)
        if failure.error.http_status not in _OVERLOAD and failure.retry_after is None:
            time.sleep(wait)
        else:
            # A Retry-After date in the past (wrong clock) still gets the normal back-off.
            pause = max(wait, min(failure.retry_after or 0.0, self.policy.retry_after_limit))
            self._limits.pause(read_host(failure.url), pause)

    @contextlib.contextmanager
    def _session(self) -> Iterator[GuardedSession]:
        """Lend a session to one thread. Later requests use its open connections again."""
        session = None
        with contextlib.suppress(IndexError):
            until, session = self._idle.pop()
            session = session if time.monotonic() < until else None
        session = session or GuardedSession(self._guard, self._ca_bundle)
        try:
            yield session
        finally:
            self._idle.append((time.monotonic() + _IDLE_SECONDS, session))


def _first_line(error: BaseException) -> str:
    cause: object = error.args[0] if error.args else error
    reason = getattr(cause, "reason", None) or cause
    text = str(reason).rpartition(": ")[2] or type(error).__name__
    return text.splitlines()[0][:120]
