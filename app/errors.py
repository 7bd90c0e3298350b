"""The errors of this service, with the HTTP status of each that a request can cause.

    ExtractorError                  500  base class; the fault is in the service, not in the request
    ├── SettingsError                    a setting is missing or malformed; raised at start
    ├── RequestError                400  the request cannot be accepted
    │   ├── Unauthenticated         400  the API key is missing (400 instead of 401: existing clients rely on it)
    │   ├── Forbidden               403  the API key or token is unknown
    │   │   └── WrongNetwork        403  a request without a key comes from a network that is not let in
    │   ├── NotFound                404  the object does not exist or belongs to another client app
    │   └── TooLarge                413  the request exceeds a limit
    ├── Unavailable                 503  the service cannot handle the request at the moment
    │   ├── DatabaseUnavailable     503  the database does not answer
    │   └── Busy                    503  too many requests of this kind are in progress
    ├── FetchError                       a file could not be fetched from a library
    │   ├── AddressRefused               the address is private and no setting trusts it
    │   └── NotAnImage                   the file is not an image, or the image is damaged
    ├── ManifestError                    the document is not a usable IIIF manifest
    ├── WeightsError                     a weights file is missing, broken or unsafe
    │   └── BackboneError                the same for a backbone, or the backbone does not exist
    ├── TrainingError                    a training cannot continue
    ├── OutOfMemory                      the memory of the GPU, or of the machine, is full
    ├── DeviceLost                       the GPU failed, and the process can no longer use it
    ├── NoSpace                     507  the disk is full
    ├── ResultGone                       the files of a job were removed
    ├── WorkerLost                       the process of a stage died repeatedly
    ├── TimeLimit                        a stage made no progress, or exceeded its time limit
    └── LeaseLost                        another worker took over the job, or the job was cancelled

The message is one sentence for a person: what is wrong, with what value, what to do. ``code`` identifies the error
for programs. Constructor arguments are kept in ``args``, so an error can be pickled.
"""

from collections.abc import Mapping


def quote_text(text: str) -> str:
    """Return a text in quotes, for an error message. Long text is truncated."""
    shown = text if len(text) <= 60 else text[:60] + "…"
    return repr(shown) if shown.isprintable() else ascii(shown)


class ExtractorError(Exception):
    """Base of all errors of this service."""

    status = 500
    code = "internal_error"

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.code

    @property
    def headers(self) -> Mapping[str, str]:
        """Additional headers of the HTTP response."""
        return {}


class SettingsError(ExtractorError):
    code = "bad_settings"


class RequestError(ExtractorError):
    status = 400
    code = "bad_request"


class Unauthenticated(RequestError):
    code = "missing_key"


class Forbidden(RequestError):
    status = 403
    code = "wrong_key"


class WrongNetwork(Forbidden):
    code = "wrong_network"


class NotFound(RequestError):
    status = 404
    code = "not_found"


class TooLarge(RequestError):
    status = 413
    code = "too_large"


class Unavailable(ExtractorError):
    status = 503
    code = "unavailable"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": "30"}


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"


class Busy(Unavailable):
    code = "busy"


class FetchError(ExtractorError):
    """A file could not be fetched from a server.

    Args:
        message: One sentence with the URL and the reason.
        http_status: Last HTTP status; None if the server did not respond.
        temporary: Whether a retry of the job may succeed. The attempts within the job have all failed.
    """

    code = "fetch_failed"

    def __init__(self, message: str, http_status: int | None = None, temporary: bool = False) -> None:
        super().__init__(message, http_status, temporary)
        self.http_status = http_status
        self.temporary = temporary

    @property
    def is_refusal(self) -> bool:
        """Whether another form of the request may succeed.

        Some servers answer 500 to a form that they do not support.
        """
        return not self.temporary or self.http_status == 500


class AddressRefused(FetchError):
    code = "address_refused"


class NotAnImage(FetchError):
    code = "not_an_image"


class ManifestError(ExtractorError):
    code = "bad_manifest"


class WeightsError(ExtractorError):
    code = "bad_weights"


class BackboneError(WeightsError):
    code = "bad_backbone"


class TrainingError(ExtractorError):
    code = "training_failed"


class OutOfMemory(ExtractorError):
    code = "out_of_memory"


class DeviceLost(ExtractorError):
    code = "device_lost"


class NoSpace(ExtractorError):
    status = 507
    code = "no_space"


class ResultGone(ExtractorError):
    code = "result_gone"


class WorkerLost(ExtractorError):
    code = "worker_lost"


class TimeLimit(ExtractorError):
    code = "time_limit"


class LeaseLost(ExtractorError):
    code = "lease_lost"
