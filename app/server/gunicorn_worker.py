"""Gunicorn's threaded worker with time limits, and its error responses to malformed HTTP.

The original worker blocks a thread for five seconds per silent client, and without limit per slow client. Its main
loop, which serves all connections of the process, waits two seconds for each client that does not close its connection.
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

from app.server.request_limits import clear_deadline, drop_expired_connections, set_deadline

# Seconds that a thread waits for the first byte of a connection, and for the unread body after the response.
gthread.DEFAULT_WORKER_DATA_TIMEOUT = 0.1
# Time limit for the request line and the headers. The application sets a new limit for the body (``middleware``).
HEAD_SECONDS = 10.0
# Time limit for data that is still in transit when a connection is closed.
LINGER_SECONDS = 2.0


class TimeLimitWorker(gthread.ThreadWorker):
    """Assigns a thread to each connection with incoming data, and drops the connection at its deadline."""

    def init_process(self) -> None:
        """Begin the work of a new process, which was forked from one that has loaded the application."""
        self.app.wsgi().extensions["services"].database.discard_connections()
        super().init_process()

    def notify(self) -> None:
        """Report to gunicorn that this process is alive. The main loop calls this at least once a second."""
        super().notify()
        drop_expired_connections()

    def handle(self, conn: Any) -> Any:
        """Handle a request in a thread. Return whether the connection is kept open."""
        set_deadline(conn.sock, HEAD_SECONDS)
        try:
            kept = super().handle(conn)
            if not kept:
                linger(conn.sock)
        finally:
            clear_deadline(conn.sock)
        return kept

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Send the error response to a request that cannot be parsed or that the application failed to handle."""
        response = ErrorResponse.of(exc)
        # The text of the error is not logged: it contains parts of the request, and so possibly a key.
        if response.status == 500:
            self.log.error("A request failed", exc_info=exc)
        else:
            self.log.warning("A request from %s was refused: %s", (addr or ("a socket",))[0], type(exc).__name__)
        with suppress(OSError):  # the client has disconnected
            client.sendall(response.format())


def linger(connection: socket.socket) -> None:
    """Read and discard the remaining data of a client. An immediate close could discard the response in transit.

    https://www.rfc-editor.org/rfc/rfc9112#section-9.6
    """
    end = time.monotonic() + LINGER_SECONDS
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(64 * 1024):
                break
    with suppress(OSError):  # so that gunicorn's main loop does not wait for the client again
        connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class ErrorResponse:
    """An error response in the format of the application.

    Attributes:
        message: One sentence. It quotes nothing of the request, which may contain a key.
    """

    status: int
    code: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> "ErrorResponse":
        """Return the response to an error of gunicorn's parser or of the application."""
        for types, response in _RESPONSES.items():
            if isinstance(error, types):
                return response
        return FAILURE

    def format(self) -> bytes:
        """Return the complete response, after which the connection is closed."""
        body = json.dumps({"message": self.message, "code": self.code}).encode()
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


FAILURE = ErrorResponse(500, "internal_error", "The server failed to handle the request; its log has the details.")
MALFORMED = ErrorResponse(400, "bad_request", "The request is not valid HTTP.")

# The first match wins.
_RESPONSES: dict[type[BaseException] | tuple[type[BaseException], ...], ErrorResponse] = {
    (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName): FAILURE,
    # The path does not start with SCRIPT_NAME.
    errors.ConfigurationProblem: ErrorResponse(404, "not_found", "There is no such URL: the API has another path."),
    (errors.InvalidRequestLine, errors.InvalidRequestMethod, errors.InvalidHTTPVersion): ErrorResponse(
        400, "bad_request_line", "The first line of the request must consist of a method, a path and HTTP/1.1."
    ),
    errors.LimitRequestLine: ErrorResponse(
        414, "address_too_long", "The URL of the request is too long: send at most 4000 characters."
    ),
    errors.LimitRequestHeaders: ErrorResponse(
        431,
        "headers_too_large",
        "The headers of the request are too large: send at most 100 headers of 8000 bytes each.",
    ),
    (errors.InvalidHeader, errors.InvalidHeaderName, errors.ObsoleteFolding): ErrorResponse(
        400, "bad_header", "A header of the request is malformed or contradicts another header."
    ),
    errors.UnsupportedTransferCoding: ErrorResponse(
        501,
        "unknown_encoding",
        "The Transfer-Encoding of the request is not supported: send chunked, or a Content-Length.",
    ),
    errors.ExpectationFailed: ErrorResponse(
        417, "expectation_failed", "The Expect header of the request is not supported: leave it out."
    ),
    (errors.InvalidChunkSize, errors.ChunkMissingTerminator, errors.InvalidChunkExtension): ErrorResponse(
        400, "bad_body", "The chunked body of the request is malformed."
    ),
    errors.ParseException: MALFORMED,
}
