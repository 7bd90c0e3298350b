"""Every error that this service raises on purpose.

    ExtractorError                  500  something is wrong here, not with the request
    ├── SettingsError                    a setting is missing or malformed; said at start
    ├── RequestError                400  the client sent something that cannot be accepted
    │   ├── Unauthenticated         400  no API key (400 and not 401: the clients' contract)
    │   ├── Forbidden               403  an API key that nobody has
    │   ├── NotFound                404  no such job, or another client app's
    │   └── TooLarge                413  more than is accepted
    ├── Unavailable                 503  something that this service needs cannot be used now
    │   ├── DatabaseUnavailable     503  nothing can be looked up or written down
    │   └── Busy                    503  as many do the same as may at once
    ├── FetchError                       a library did not give what was asked
    │   ├── AddressRefused               a private address that no setting trusts
    │   └── NotAnImage                   bytes that are not an image, or a damaged one
    ├── ManifestError                    a document that is not a usable IIIF manifest
    ├── WeightsError                     a weights file that is absent, broken or unsafe
    │   └── BackboneError                such a file of a backbone, or a backbone that does not exist
    ├── TrainingError                    a training that cannot go on
    ├── NoSpace                     507  the disk is full
    ├── ResultGone                       the files of a job are no longer here
    ├── WorkerLost                       the process of a stage died, and died again
    ├── TimeLimit                        a stage did not get on, or took longer than it may
    └── LeaseLost                        another worker, or a cancel, took the job away

The message is one sentence for the person who reads it: what was wrong, with what, what to do. ``code``
is the same thing for a program. The message lies in ``args``, so an error survives being pickled.
"""

from collections.abc import Mapping


class ExtractorError(Exception):
    """Base of all errors of this service."""

    status = 500
    code = "internal_error"

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.code

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers that go with the answer."""
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
    """What was asked of a server did not come.

    Args:
        message: One sentence with the URL and the reason.
        http_status: The server's last status, when it answered at all.
        temporary: It may come another time; it was tried as often as is decent.
    """

    code = "fetch_failed"

    def __init__(self, message: str, http_status: int | None = None, temporary: bool = False) -> None:
        super().__init__(message, http_status, temporary)
        self.http_status = http_status
        self.temporary = temporary


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
