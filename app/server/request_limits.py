"""Limits of one request: the size and form of its body, and the time until its connection is cut.

Werkzeug's own reading takes the beginning of a form for the whole form when it arrives in chunks and exceeds
``MAX_REQUEST_MB``, or when the client disconnects.
"""

import io
import socket
import tempfile
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from flask import Request, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.wsgi import LimitedStream, get_input_stream

# When the connections that a thread of gunicorn reads or writes are cut.
_cut_at: dict[socket.socket, float] = {}


def limit_time(connection: socket.socket, seconds: float) -> None:
    """Give a connection this much time from now on, whatever it was given before."""
    _cut_at[connection] = time.monotonic() + seconds


def remove_time_limit(connection: socket.socket | None) -> None:
    """Do not cut a connection: it is not its client that is waited for."""
    if connection is not None:
        _cut_at.pop(connection, None)


def cut_late_connections() -> None:
    """End the connections whose time is over, which wakes the threads that wait for them."""
    for connection, end in _cut_at.copy().items():
        if end <= time.monotonic():
            with suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)


def allow(seconds: float, silence: float | None = None) -> None:
    """Give the current request this much time from now on. Without gunicorn, a request has no time limit.

    Args:
        seconds: Time for the whole request.
        silence: Longest pause of the client, in seconds.
    """
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        limit_time(connection, seconds)
        connection.settimeout(silence)


class ChunkedBody(LimitedStream):
    """A body of unknown length. It raises an error when it exceeds its limit or its chunks are malformed."""

    def readinto(self, buffer: Any) -> int | None:
        try:
            return super().readinto(buffer)
        except ParseException as error:
            raise BadRequest("The body of the request is not made of chunks, as its header says.") from error

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(64 * 1024), b""))


class BoundedForm(FormDataParser):
    """Holds every form to ``MAX_FORM_PARTS`` fields, as werkzeug does for multipart ones only."""

    def _parse_urlencoded(self, stream: IO[bytes], *arguments: Any) -> Any:
        body = stream.read()
        if self.max_form_parts is not None and body.count(b"&") >= self.max_form_parts:
            raise RequestEntityTooLarge
        return super()._parse_urlencoded(io.BytesIO(body), *arguments)


class BoundedRequest(Request):
    """A request whose body is as long as its headers say, and no longer than its limit.

    Attributes:
        spool: Folder for uploaded files until the request ends, on a disk with room; None: the system's folder.
    """

    form_data_parser_class = BoundedForm
    spool: Path | None = None

    def _get_file_stream(self, *arguments: Any, **named: Any) -> IO[bytes]:
        if self.spool is None:
            return super()._get_file_stream(*arguments, **named)
        return cast(IO[bytes], tempfile.TemporaryFile(dir=self.spool))

    @cached_property
    def stream(self) -> IO[bytes]:
        limit = self.max_content_length
        if self.content_length is None and self.environ.get("wsgi.input_terminated") and limit is not None:
            return cast(IO[bytes], ChunkedBody(self.environ["wsgi.input"], limit, is_max=True))
        # Gunicorn also ends a body where the client disconnects, so the bytes are counted.
        counted = {name: value for name, value in self.environ.items() if name != "wsgi.input_terminated"}
        return get_input_stream(counted, max_content_length=limit)
