"""Converts the fields of a request to a record, or to an error message that names the first invalid field."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sized
from functools import cache
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from app.errors import RequestError, quote_text

T = TypeVar("T")

# Messages by pydantic's type of error. Placeholders are filled from the schema of the field. The validators of this
# package bring their own messages (type "value_error").
_NUMBER = "must be a whole number from {minimum} to {maximum}"
_WORD = "must be {expected}"
FAULTS = {
    "string_type": "must be text",
    "string_unicode": "contains an unpaired surrogate, which is not valid text",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "int_type": _NUMBER,
    "bool_type": "must be true or false",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than_equal": _NUMBER,
    "less_than_equal": _NUMBER,
    "bool_parsing": "must be true or false",
    "enum": _WORD,
    "literal_error": _WORD,
    "is_instance_of": "must be a file",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "too_short": "is empty",
    "too_long": "has {count} entries; send at most {max_length}",
}


def read(model: type[T], fields: Mapping[str, Any]) -> T:
    """Return the record of a request. Empty fields count as missing; unknown fields are ignored.

    Args:
        model: Class of the record, a pydantic dataclass.
        fields: Fields of a form, a query or a JSON object.

    Raises:
        RequestError: A field is invalid.
    """
    sent = {name: value for name in get_schema(model) if (value := _strip(fields.get(name))) not in (None, "")}
    try:
        record: T = adapt(model).validate_python(sent)
    except ValidationError as error:
        raise RequestError(explain(error, model)) from error
    return record


# The cached type adapter of a type, which validates and serialises its values.
adapt: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
# The JSON schemas of the fields of a record, by name.
get_schema: Callable[[Any], dict[str, dict[str, Any]]] = cache(lambda model: adapt(model).json_schema()["properties"])


def explain(error: ValidationError, model: Any) -> str:
    """Return the error message about the first invalid field."""
    fault = error.errors(include_url=False)[0]
    field, *entry = fault["loc"]
    schema = get_schema(model).get(str(field), {})
    if fault["type"] == "missing":
        wanted = schema.get("description", "")
        return f"{field} is missing: send {wanted[:1].lower()}{wanted[1:]}"
    named = f"{field}: {show(fault['input'] if isinstance(entry[0], int) else entry[0])}" if entry else str(field)
    return f"{named} {describe_fault(fault, schema)}."


def describe_fault(fault: Mapping[str, Any], schema: Mapping[str, Any] | None = None) -> str:
    """Return an error message without its beginning, the name of the field.

    Args:
        fault: An entry of ``ValidationError.errors()``.
        schema: JSON schema of the field.
    """
    value, context = fault["input"], fault.get("ctx", {})
    if fault["type"] == "value_error":
        return str(context["error"])
    facts = {**(schema or {}), **context, "count": len(value) if isinstance(value, Sized) else 0}
    facts["expected"] = str(context.get("expected", "")).replace("'", "")
    words = FAULTS[fault["type"]].format_map(facts) if fault["type"] in FAULTS else str(fault["msg"])
    # For an entry of a list, the beginning of the message quotes the value already.
    return f"{words}, not {show(value)}" if words.startswith("must be") and len(fault["loc"]) <= 1 else words


def show(value: Any) -> str:
    """Return a value for an error message. Long text is truncated."""
    if isinstance(value, str):
        return quote_text(value)
    if value is None:
        return "null"
    if isinstance(value, bool | int | float) and abs(value) < 10**60:
        return str(value).lower()
    names = {dict: "an object", list: "a list", int: "a number of that size", float: "a number of that size"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a file")


class Request:
    """Base class of requests that create jobs.

    Attributes:
        kind: Name of the kind of job (see ``app/jobs/job_kinds.py``).
    """

    kind: ClassVar[str]

    @property
    def needs_download(self) -> bool:
        """Whether the job begins with the download stage. Otherwise, all of its files are there."""
        return True

    @property
    def host(self) -> str:
        """The host that serves most of the files of the job, or "". The scheduler limits the downloads per host."""
        return ""

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON for the row of its job."""
        record: dict[str, Any] = adapt(type(self)).dump_python(self, mode="json")
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Return the record stored in the row of a job."""
        request: Self = adapt(cls).validate_python(record)
        return request


class JsonObject(dict[str, Any]):
    """A JSON object that records repeated names. The last value of a repeated name is kept, as in ``json``.

    Attributes:
        repeated: Names that occur more than once.
    """

    repeated: tuple[str, ...] = ()


def parse_json(document: str | bytes) -> Any:
    """Parse a JSON document. Objects become instances of :class:`JsonObject`.

    Raises:
        ValueError: The document is not JSON, or it is nested too deeply.
    """
    try:
        return json.loads(document, object_pairs_hook=_build_object, parse_constant=_reject_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_text(value: Any) -> Any:
    """Parse the JSON text of a form field. A value that is no text is already parsed."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ValueError as error:
        raise ValueError("is not JSON") from error


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _build_object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = JsonObject(pairs)
    if len(found) < len(pairs):
        found.repeated = tuple(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return found


def _reject_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not valid JSON")
