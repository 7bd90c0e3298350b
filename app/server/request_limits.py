"""Limits of one request: the size and the form of its body, and the deadline of its connection.

A form is truncated when it is chunked and exceeds ``MAX_REQUEST_MB``, or when the client disconnects. Werkzeug alone
would accept a truncated form.
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

# Deadlines of the connections that gunicorn's threads read or write, in seconds of the monotonic clock.
_deadlines: dict[socket.socket, float] = {}


def set_deadline(connection: socket.socket, seconds: float) -> None:
    """Set the deadline of a connection, in seconds from now. It replaces an earlier one."""
    _deadlines[connection] = time.monotonic() + seconds


def clear_deadline(connection: socket.socket | None) -> None:
    """Remove the deadline of a connection, because the server itself is working on its request."""
    if connection is not None:
        _deadlines.pop(connection, None)


def drop_expired_connections() -> None:
    """Shut down the connections after their deadline. This wakes the threads that wait for their data."""
    for connection, end in _deadlines.copy().items():
        if end <= time.monotonic():
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)


def set_request_deadline(seconds: float, idle_timeout: float | None = None) -> None:
    """Set the deadline of the current request. Flask's development server ignores it.

    Args:
        seconds: Seconds from now until the connection is dropped.
        idle_timeout: Longest pause of the client, in seconds; None for no limit.
    """
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        set_deadline(connection, seconds)
        connection.settimeout(idle_timeout)


class ChunkedBody(LimitedStream):
    """A chunked body. Reading raises an error if the body exceeds its limit or a chunk is malformed."""

    def readinto(self, buffer: Any) -> int | None:
        try:
            return super().readinto(buffer)
        except ParseException as error:
            raise BadRequest("The chunked body of the request is malformed.") from error

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(64 * 1024), b""))


class BoundedForm(FormDataParser):
    """Limits all forms to ``MAX_FORM_PARTS`` fields; werkzeug limits multipart forms only."""

    def _parse_urlencoded(self, stream: IO[bytes], *arguments: Any) -> Any:
        body = stream.read()
        if self.max_form_parts is not None and body.count(b"&") >= self.max_form_parts:
            raise RequestEntityTooLarge
        return super()._parse_urlencoded(io.BytesIO(body), *arguments)


class BoundedRequest(Request):
    """A request whose body has the length that its headers declare, and does not exceed its limit.

    Attributes:
        spool: Folder for uploaded files until the request ends; None for the temporary folder of the system.
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
        # Gunicorn reports a normal end of the body when the client disconnects, so the bytes are counted.
        counted = {name: value for name, value in self.environ.items() if name != "wsgi.input_terminated"}
        return get_input_stream(counted, max_content_length=limit)
