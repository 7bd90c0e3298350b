"""The types of the fields of requests. Each is one rule: it validates a value, and is its schema in ``/openapi.json``.

A validator raises ``ValueError`` with the end of a sentence that begins with the name of the field.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

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
from app.net.addresses import LONGEST_URL, read_host

LONGEST_LABEL = 200
LONGEST_NAME = 200
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
# A hint for programs: nearly what _check_address accepts.
_ADDRESS = r"https?://(\[[0-9a-f:.]+\]|[^\x00-\x20\x7f/?#@:\[\]\\]+)(:[0-9]{1,5})?([/?#][^\x00-\x20\x7f]*)?"


def explain_name(name: str) -> str:
    """Return why a document or an image cannot have a name, or "" when it can: ``is a path``."""
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"has more than {LONGEST_NAME} characters"
    if not name.isprintable():
        return "has characters that cannot be printed"
    if "/" in name or "\\" in name or name in (".", ".."):
        return "is a path"
    return "has a space at an end" if name != name.strip() else ""


def _check_name(name: str) -> str:
    if fault := explain_name(name):
        raise ValueError(fault)
    return name


def _check_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in {"http", "https"} and bool(read_host(value)) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if not whole or _UNPRINTABLE.search(value):
        raise ValueError(f"is not a web address: {show(value)}; send one that starts with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("must not contain a user name or a password")
    return value


def _check_line(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("must be one line of text without control characters")
    return value


def _check_job_id(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{32}", value):
        raise ValueError(f"names no job: {show(value)} is not the id of one")
    return value


def _write_number(value: Any) -> Any:
    """Return a number as text: some clients send ids as numbers."""
    return str(value) if type(value) is int else value


def _read_number(value: Any) -> Any:
    """Return the number that a form has as text."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,30}", value) else value


@dataclass(frozen=True)
class OneOf:
    """Annotates a text that is one of some words, or empty.

    Attributes:
        words: The words.
    """

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
# The id of a document or the name of an image: never a path.
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_check_name)]
# A short line of text; some clients send a number as the id of something of theirs.
Label = Annotated[str, Field(max_length=LONGEST_LABEL), AfterValidator(_check_line), BeforeValidator(_write_number)]
JobId = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9a-f]{32}$"}), AfterValidator(_check_job_id)]
# Goes last, after the limits of a number: a form has it as text.
FROM_TEXT = BeforeValidator(_read_number)

# Fields that several requests have.
Model = Annotated[Label, Field(description="Weights, by a name that GET /models lists; else this server's default.")]
ExperimentId = Annotated[Label, Field(description="Passed through to the callback.")]
NotifyUrl = Annotated[
    OptionalAddress,
    Field(description="The address that receives the job's events: started, progress, done, failed, cancelled."),
]


def check_url(field: str, value: str) -> str:
    """Return a web address that is no field of a request.

    Args:
        field: Name of the address in the sentence.
        value: The address.

    Raises:
        RequestError: It cannot be used.
    """
    try:
        address: str = adapt(Address).validate_python(value.strip())
    except ValidationError as error:
        raise RequestError(f"{field} {describe_fault(error.errors()[0])}.") from error
    return address
