"""What is answered to a request that is no HTTP, or too much of it, before the application sees any of it."""

import json
from dataclasses import dataclass
from http import HTTPStatus

from gunicorn.http import errors


@dataclass(frozen=True)
class Refusal:
    """An answer like those of the application.

    Attributes:
        message: One sentence. It repeats nothing of the request, in which there may be a key.
    """

    status: int
    code: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> "Refusal":
        """Return the answer to an error of gunicorn's parser, or to one of the application."""
        for kinds, refusal in _REFUSALS.items():
            if isinstance(error, kinds):
                return refusal
        return FAILURE

    def format(self) -> bytes:
        """Return the whole answer, after which the connection ends."""
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

# The first that fits holds.
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
