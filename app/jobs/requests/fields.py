"""Types of the fields of requests. Each validates a value and defines its schema in ``/openapi.json``.

Validators raise ``ValueError`` with a message that continues the name of the field: "is empty".
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, core_schema

from app.errors import RequestError
from app.jobs.requests.reading import adapt, describe_fault, show
from app.net.addresses import LONGEST_URL
from app.net.urls import explain_address
from app.sources.names import LONGEST_NAME, explain_name

LONGEST_LABEL = 200
# For the schema only. _check_address and _check_callback are slightly stricter.
_PLACE = r"https?://(\[[0-9a-f:.]+\]|[^\x00-\x20\x7f/?#@:\[\]\\]+)(:[0-9]{1,5})?"
_ADDRESS = rf"{_PLACE}([/?#][^\x00-\x1f\x7f]*)?"
_CALLBACK = rf"{_PLACE}([/?][^\x00-\x1f\x7f#]*)?"


def _check_name(name: str) -> str:
    if fault := explain_name(name):
        raise ValueError(fault)
    return name


def _check_address(value: str) -> str:
    """Check a URL. It is kept as the client sent it, because clients compare it; requests encode it."""
    if fault := explain_address(value):
        raise ValueError(fault)
    return value


def _check_callback(value: str) -> str:
    """Check a URL that receives data. A result is sent to a path below it, which would be part of the fragment."""
    if "#" in _check_address(value):
        raise ValueError("must not contain a fragment: remove # and what follows")
    return value


def _check_line(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("must be one line of text without control characters")
    return value


def _check_job_id(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{32}", value):
        raise ValueError(f"is not a job ID: {show(value)}; send 32 hexadecimal digits")
    return value


def _write_number(value: Any) -> Any:
    """Convert a number to text, because some clients send IDs as numbers."""
    return str(value) if type(value) is int else value


def _read_number(value: Any) -> Any:
    """Convert the text of a form field to a number."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,30}", value) else value


@dataclass(frozen=True)
class OneOf:
    """Annotation of a text field that is empty or one of the ``words``."""

    words: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"enum": ["", *self.words]}

    def _check(self, value: str) -> str:
        if value not in ("", *self.words):
            raise ValueError(f"must be one of {', '.join(self.words)}, not {show(value)}")
        return value


Address = Annotated[
    str,
    Field(max_length=LONGEST_URL, json_schema_extra={"pattern": f"^{_ADDRESS}$"}),
    AfterValidator(_check_address),
]
OptionalAddress = Annotated[
    str,
    Field(max_length=LONGEST_URL, json_schema_extra={"pattern": f"^({_ADDRESS})?$"}),
    AfterValidator(lambda value: value and _check_address(value)),
]
Callback = Annotated[
    str,
    Field(max_length=LONGEST_URL, json_schema_extra={"pattern": f"^({_CALLBACK})?$"}),
    AfterValidator(lambda value: value and _check_callback(value)),
]
# The ID of a document or the name of an image. Paths are rejected.
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_check_name)]
# A short line of text. Numbers are converted, because some clients send IDs as numbers.
Label = Annotated[str, Field(max_length=LONGEST_LABEL), AfterValidator(_check_line), BeforeValidator(_write_number)]
JobId = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9a-f]{32}$"}), AfterValidator(_check_job_id)]
OptionalJobId = Annotated[
    str,
    Field(json_schema_extra={"pattern": "^([0-9a-f]{32})?$"}),
    AfterValidator(lambda value: value and _check_job_id(value)),
]
# Put it last in the annotation of a number. Forms send numbers as text.
FROM_TEXT = BeforeValidator(_read_number)

# Fields that several requests have.
Model = Annotated[
    Label,
    Field(description="The detection weights, as listed by GET /models. Default: those of GET /models/default."),
]
ExperimentId = Annotated[Label, Field(description="Any identifier. It is sent back unchanged with each result.")]
NotifyUrl = Annotated[
    Callback,
    Field(
        description="The URL that receives the events of the job: "
        "job.started, job.progress, job.done, job.failed and job.cancelled."
    ),
]


def check_url(field: str, value: str) -> str:
    """Validate a URL that is not a field of a request, and return it.

    Args:
        field: Name of the URL in the error message.
        value: URL to validate.

    Raises:
        RequestError: The URL is invalid.
    """
    try:
        address: str = adapt(Address).validate_python(value.strip())
    except ValidationError as error:
        raise RequestError(f"{field} {describe_fault(error.errors()[0])}.") from error
    return address
