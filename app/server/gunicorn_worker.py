"""Gunicorn's threaded worker with time limits, and its answers to requests that are not HTTP.

Gunicorn's own worker gives a thread for five seconds to a client that sends nothing, and for ever to one that sends
slowly. Its main loop, which serves all connections of the process, waits two seconds for each client that does not
close its connection.
"""

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.workers import gthread

from app.server.request_limits import cut_late_connections, limit_time, remove_time_limit

# A new connection holds a thread no longer than this before its first byte, and an unread body after its answer.
gthread.DEFAULT_WORKER_DATA_TIMEOUT = 0.1
# For the head of a request. Then the application gives the request its own time.
HEAD_SECONDS = 10.0
# For data that is still on its way when a connection ends.
LINGER_SECONDS = 2.0


class TimeLimitWorker(gthread.ThreadWorker):
    """Gives a thread to each connection on which data arrives, and cuts the connection when its time is over."""

    def notify(self) -> None:
        """Tell gunicorn that this process is alive. The main loop does so at least once a second."""
        super().notify()
        cut_late_connections()

    def handle(self, conn: Any) -> Any:
        """Read and answer a request in a thread. Returns whether the connection is kept."""
        limit_time(conn.sock, HEAD_SECONDS)
        try:
            kept = super().handle(conn)
            if not kept:
                linger(conn.sock)
        finally:
            remove_time_limit(conn.sock)
        return kept

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be parsed, or an error that the application did not handle."""
        refusal = Refusal.of(exc)
        # Never the text of the error: it contains parts of the request, which may contain a key.
        if refusal.status == 500:
            self.log.error("A request failed", exc_info=exc)
        else:
            self.log.warning("A request from %s was refused: %s", (addr or ("a socket",))[0], type(exc).__name__)
        with suppress(OSError):  # the client has disconnected
            client.sendall(refusal.format())


def linger(connection: socket.socket) -> None:
    """Read and drop what a client still sends: closing before that would destroy the answer on its way.

    https://www.rfc-editor.org/rfc/rfc9112#section-9.6
    """
    end = time.monotonic() + LINGER_SECONDS
    with suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(64 * 1024):
                break
    with suppress(OSError):  # then gunicorn's main loop does not wait for the client again
        connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Refusal:
    """An answer in the form of the application's own.

    Attributes:
        message: One sentence. It repeats nothing of the request, which may contain a key.
    """

    status: int
    code: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> "Refusal":
        """Return the answer to an error of gunicorn's parser, or of the application."""
        for kinds, refusal in _REFUSALS.items():
            if isinstance(error, kinds):
                return refusal
        return FAILURE

    def format(self) -> bytes:
        """Return the whole answer; the connection ends after it."""
        body = json.dumps({"message": self.message, "code": self.code}).encode()
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


FAILURE = Refusal(500, "internal_error", "The server failed with this request: its log has the details.")
MALFORMED = Refusal(400, "bad_request", "The request cannot be read: its form is not that of HTTP.")

# The first match holds.
_REFUSALS: dict[type[BaseException] | tuple[type[BaseException], ...], Refusal] = {
    (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem): FAILURE,
    (errors.InvalidRequestLine, errors.InvalidRequestMethod, errors.InvalidHTTPVersion): Refusal(
        400, "bad_request_line", "The request does not begin with a method, an address and HTTP/1.1 on a line."
    ),
    errors.LimitRequestLine: Refusal(
        414, "address_too_long", "The address of the request is too long: at most 4000 characters are accepted."
    ),
    errors.LimitRequestHeaders: Refusal(
        431,
        "headers_too_large",
        "The headers of the request are too large: at most 100 of 8000 bytes each are accepted.",
    ),
    (errors.InvalidHeader, errors.InvalidHeaderName, errors.ObsoleteFolding): Refusal(
        400, "bad_header", "A header of the request is malformed, or contradicts another."
    ),
    errors.UnsupportedTransferCoding: Refusal(
        501,
        "unknown_encoding",
        "The Transfer-Encoding of the request is not known here: send it chunked, or whole.",
    ),
    errors.ExpectationFailed: Refusal(
        417, "expectation_failed", "What the header Expect asks for is not done here: leave it out."
    ),
    (errors.InvalidChunkSize, errors.ChunkMissingTerminator, errors.InvalidChunkExtension): Refusal(
        400, "bad_body", "The body of the request is not made of chunks, as its header says."
    ),
    errors.ParseException: MALFORMED,
}
