"""Fetching over HTTP: bounded, polite, and with errors that say what happened.

This is the boundary of ``requests``: nothing of it passes through but :class:`~app.errors.FetchError`.
"""

import contextlib
import email.utils
import io
import random
import threading
import time
import warnings
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
import urllib3
from PIL import Image, UnidentifiedImageError

from app.errors import FetchError, NotAnImage
from app.iiif.addresses import AddressGuard, GuardedAdapter
from app.iiif.hosts import HostLimits

# Only formats of the IIIF Image API that hold pixels; Pillow would try sixty.
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "GIF")
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
_CHUNK = 1 << 16


@dataclass(frozen=True)
class FetchPolicy:
    """The bounds of every request. Times in seconds."""

    user_agent: str = "extractorAPI"
    attempts: int = 5
    timeout: float = 20.0
    deadline: float = 180.0
    retry_after_limit: float = 120.0
    backoff: float = 1.0
    max_redirects: int = 5
    max_document_bytes: int = 64 << 20
    max_image_bytes: int = 200 << 20
    max_image_pixels: int = 170_000_000


class Fetcher:
    """A polite HTTP client for manifests and images. Threads may share one.

    Args:
        policy: The bounds of a request.
        limits: Turns at each host; share one among the fetchers of a process.
        guard: The addresses that may be reached.
    """

    def __init__(self, policy: FetchPolicy, limits: HostLimits, guard: AddressGuard) -> None:
        self.policy = policy
        self._limits = limits
        self._guard = guard
        self._local = threading.local()

    def fetch_document(self, url: str) -> bytes:
        """Return a JSON document (a manifest, an ``info.json``).

        Raises:
            FetchError: It did not come, and why.
        """
        return self._fetch(url, self.policy.max_document_bytes, "application/ld+json, application/json, */*;q=0.5")

    def fetch_image(self, url: str) -> tuple[bytes, int, int]:
        """Return an image file, decoded once to prove it whole, with its width and height.

        Raises:
            FetchError: It did not come, and why.
            NotAnImage: What came is not an image, is damaged, or is too large.
        """
        data = self._fetch(url, self.policy.max_image_bytes, "image/jpeg, image/*;q=0.8")
        width, height = check_image(data, url, self.policy.max_image_pixels)
        return data, width, height

    def _fetch(self, url: str, max_bytes: int, accept: str) -> bytes:
        """Try until it comes, the server says a final no, or the attempts are used up."""
        host = urlsplit(url).netloc.lower()
        for attempt in range(1, self.policy.attempts + 1):
            try:
                with self._limits.turn(host):
                    return self._attempt(url, max_bytes, accept)
            except _Retriable as failure:
                error = failure.error
                if attempt < self.policy.attempts:
                    wait = self._wait(attempt, failure.retry_after)
                    self._limits.pause(host, wait) if failure.retry_after is not None else time.sleep(wait)
        raise FetchError(f"{error.message} Tried {self.policy.attempts} times.", error.http_status)

    def _attempt(self, url: str, max_bytes: int, accept: str) -> bytes:
        headers = {"User-Agent": self.policy.user_agent, "Accept": accept}
        end = time.monotonic() + self.policy.deadline
        try:
            with self._session().get(url, headers=headers, stream=True, timeout=self.policy.timeout) as response:
                _check_status(url, response)
                return _read_body(url, response, max_bytes, end)
        except requests.TooManyRedirects as error:
            raise FetchError(f"{url} redirects more than {self.policy.max_redirects} times.") from error
        except requests.exceptions.SSLError as error:
            raise FetchError(f"{url} has no valid certificate.") from error
        except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL, ValueError) as error:
            raise FetchError(f"{url} is not a web address that can be fetched.") from error
        except requests.Timeout as error:
            raise _Retriable(FetchError(f"{url} did not answer within {self.policy.timeout:g} seconds.")) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _Retriable(FetchError(f"{url} could not be reached ({_first_line(error)}).")) from error

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return min(retry_after, self.policy.retry_after_limit)
        # Full jitter: clients that failed together do not come back together.
        return self.policy.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)

    def _session(self) -> requests.Session:
        # A requests session is not made for several threads: each thread has its own.
        if not hasattr(self._local, "session"):
            session = requests.Session()
            session.trust_env = False
            session.max_redirects = self.policy.max_redirects
            for scheme in ("http://", "https://"):
                session.mount(scheme, GuardedAdapter(self._guard))
            self._local.session = session
        return self._local.session


class _Retriable(Exception):
    """A failure that may pass."""

    def __init__(self, error: FetchError, retry_after: float | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.retry_after = retry_after


def _check_status(url: str, response: requests.Response) -> None:
    if response.status_code == 200:
        return
    error = FetchError(f"{url} answered {response.status_code} {response.reason or ''}".rstrip() + ".")
    error.http_status = response.status_code
    if response.status_code in TRY_AGAIN:
        raise _Retriable(error, parse_retry_after(response.headers.get("Retry-After")))
    raise error


def _read_body(url: str, response: requests.Response, max_bytes: int, end: float) -> bytes:
    """Read a body within its bounds; one that ends before its announced length is an error of urllib3."""
    body = bytearray()
    # read1 returns with what has come: a server that sends a byte a second meets the deadline.
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > max_bytes:
            raise FetchError(f"{url} is larger than {max_bytes >> 20} MB.")
        if time.monotonic() > end:
            raise _Retriable(FetchError(f"{url} did not come whole in time."))
    return bytes(body)


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, as a number or a date; None when it is nonsense.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        return float(int(value)) if int(value) >= 0 else None
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def check_image(data: bytes, url: str, max_pixels: int) -> tuple[int, int]:
    """Decode an image once and return its (width, height).

    Raises:
        NotAnImage: The bytes are something else, are cut short, or unpack to too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise NotAnImage(f"{url} has {width} x {height} pixels, more than are accepted.")
                # A reduced decode reads every byte of a JPEG at a fraction of the cost.
                image.draft("RGB", (width // 8, height // 8))
                image.load()
                return width, height
    except UnidentifiedImageError as error:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "no image"
        raise NotAnImage(f"{url} answered {shown} instead of an image.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError) as error:
        raise NotAnImage(f"{url} is a damaged image ({_first_line(error)}).") from error


def _first_line(error: BaseException) -> str:
    cause: object = error.args[0] if error.args else error
    reason = getattr(cause, "reason", None) or cause
    text = str(reason).rpartition(": ")[2] or type(error).__name__
    return text.splitlines()[0][:120]
