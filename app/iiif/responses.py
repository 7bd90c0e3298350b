"""Read the response to a request: its status, and its body in memory or in a file."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import requests

from app.errors import FetchError
from app.net.transport import Deadline, parse_retry_after, read_reason
from app.storage import check_space, open_atomic, translate_disk_full

RETRIABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
_CHUNK = 1 << 16
# Longest time for a large file, in seconds: 2 GB at 11 Mbit/s. A stage without progress is ended after 30 minutes.
FILE_SECONDS = 1500.0


class Body(Protocol):
    """Receives the body of a response."""

    def receive(self, url: str, response: requests.Response, deadline: Deadline) -> bytes:
        """Return the body, or b"" if it is in a file.

        Raises:
            FetchError: The body is too large.
        """


@dataclass(frozen=True)
class MemoryBody:
    """Receives a body in memory.

    Attributes:
        max_bytes: Largest size.
        check: Called with the first bytes; raises to stop.
    """

    max_bytes: int
    check: Callable[[bytes], None] = lambda _: None

    def receive(self, url: str, response: requests.Response, deadline: Deadline) -> bytes:
        body = bytearray()
        while chunk := _read(response):
            if not body:
                self.check(chunk)
            body += chunk
            _check_size(url, len(body), self.max_bytes)
        return bytes(body)


@dataclass(frozen=True)
class FileBody:
    """Receives a body in a file, which appears when it is complete.

    Attributes:
        path: File to write.
        max_bytes: Largest size of a document.
        max_file_bytes: Largest size of a large file, such as a zip file.
        is_file: Function that recognises a large file by its first bytes. It gets more time: ``FILE_SECONDS``.
        tick: Called after each part of the body; raises to stop.
    """

    path: Path
    max_bytes: int
    max_file_bytes: int
    is_file: Callable[[bytes], bool]
    tick: Callable[[], None]

    def receive(self, url: str, response: requests.Response, deadline: Deadline) -> bytes:
        size, limit = 0, self.max_bytes
        with translate_disk_full(), open_atomic(self.path) as file:
            while chunk := _read(response):
                if not size and self.is_file(chunk):
                    limit = self.max_file_bytes
                    stated = _read_length(response)
                    _check_size(url, stated, limit)
                    check_space(self.path.parent, stated)
                    deadline.extend(FILE_SECONDS)
                size += file.write(chunk)
                _check_size(url, size, limit)
                self.tick()
            if deadline.expired:  # the end of the body may be that of the connection
                raise requests.Timeout
        return b""


def _read(response: requests.Response) -> bytes:
    # urllib3 raises if the body is shorter than its `Content-Length`.
    chunk: bytes = response.raw.read1(_CHUNK, decode_content=True)
    return chunk


def _read_length(response: requests.Response) -> int:
    with suppress(ValueError):
        return max(0, int(response.headers.get("Content-Length", "0")))
    return 0


def _check_size(url: str, size: int, limit: int) -> None:
    if size > limit:
        raise FetchError(f"{url} is larger than {limit / 1e6:.3g} MB, the limit of this service.")


class Retriable(Exception):
    """A failure after which another attempt may succeed."""

    def __init__(self, url: str, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.error = FetchError(message, status)
        self.retry_after = retry_after


def build_late(url: str, deadline: Deadline) -> Retriable:
    return Retriable(url, f"{url} could not be downloaded completely within {round(deadline.seconds, 1):g} seconds.")


def check_status(url: str, response: requests.Response, accepted: frozenset[int]) -> None:
    status = response.status_code
    if status in accepted:
        return
    message = f"{url} answered {status} {read_reason(response)}".rstrip() + "."
    if status in RETRIABLE_STATUSES:
        raise Retriable(url, message, status, parse_retry_after(response.headers.get("Retry-After")))
    raise FetchError(message, status)
