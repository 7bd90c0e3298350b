"""Request bodies: read whole, or refused. Werkzeug's own reading takes the beginning of a form for all of it when it
comes in chunks and grows over ``MAX_REQUEST_MB``, or when the client goes away in the middle.
"""

import io
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.wsgi import LimitedStream, get_input_stream


class ChunkedBody(LimitedStream):
    """A body of unknown length, which raises an error where it grows over its limit, or is not what it says."""

    def readinto(self, buffer: Any) -> int | None:
        try:
            return super().readinto(buffer)
        except ParseException as error:
            raise BadRequest("The body of the request is not made of chunks, as its header says.") from error

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(64 * 1024), b""))


class WatchedBody:
    """A body that says whenever more of it is waited for."""

    def __init__(self, body: IO[bytes], before_piece: Callable[[], None]) -> None:
        self._body = body
        self._before_piece = before_piece

    def read(self, size: int = -1) -> bytes:
        self._before_piece()
        return self._body.read(size)


class BoundedForm(FormDataParser):
    """Holds every form to ``MAX_FORM_PARTS`` fields, as werkzeug does for multipart ones only."""

    def _parse_urlencoded(self, stream: IO[bytes], *arguments: Any) -> Any:
        body = stream.read()
        if self.max_form_parts is not None and body.count(b"&") >= self.max_form_parts:
            raise RequestEntityTooLarge
        return super()._parse_urlencoded(io.BytesIO(body), *arguments)


class BoundedRequest(Request):
    """A request whose body is as long as it says, and no longer than it may be.

    Attributes:
        spool: Where uploaded files lie while they are looked at, on a disk with room; else in the system's folder.
        before_piece: Called whenever more of the body is waited for.
    """

    form_data_parser_class = BoundedForm
    spool: Path | None = None
    before_piece: Callable[[], None] | None = None

    def _get_file_stream(self, *arguments: Any, **named: Any) -> IO[bytes]:
        if self.spool is None:
            return super()._get_file_stream(*arguments, **named)
        return cast(IO[bytes], tempfile.TemporaryFile(dir=self.spool))

    @cached_property
    def stream(self) -> IO[bytes]:
        limit = self.max_content_length
        if self.before_piece:
            self.environ["wsgi.input"] = WatchedBody(self.environ["wsgi.input"], self.before_piece)
        if self.content_length is None and self.environ.get("wsgi.input_terminated") and limit is not None:
            return cast(IO[bytes], ChunkedBody(self.environ["wsgi.input"], limit, is_max=True))
        # A server that ends the body where the client goes away is not believed: the length is counted.
        counted = {name: value for name, value in self.environ.items() if name != "wsgi.input_terminated"}
        return get_input_stream(counted, max_content_length=limit)
