"""From the fields that a client sent to a record, or to one sentence that says what is wrong with a field."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sized
from functools import cache
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from app.errors import RequestError

T = TypeVar("T")

# pydantic's types of errors, and the words for them; the limits are those of the field's schema. Faults that a
# validator of this package finds have words of their own.
_NUMBER = "must be a whole number from {minimum} to {maximum}"
_WORD = "must be {expected}"
FAULTS = {
    "string_type": "must be text",
    "string_unicode": "contains an unpaired surrogate, which is not valid text",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "int_type": _NUMBER,
    "greater_than_equal": _NUMBER,
    "less_than_equal": _NUMBER,
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
    """Return the record of a request. A field without a value counts as missing; unknown fields are passed over.

    Args:
        model: Class of the record, a dataclass of pydantic.
        fields: Fields of a form, of a query or of a JSON object.

    Raises:
        RequestError: A field cannot be used.
    """
    sent = {name: value for name in get_schema(model) if (value := _strip(fields.get(name))) not in (None, "")}
    try:
        record: T = adapt(model).validate_python(sent)
    except ValidationError as error:
        raise RequestError(explain(error, model)) from error
    return record


# What validates and writes the values of a type.
adapt: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
# The JSON schema of each field of a record that clients may send.
get_schema: Callable[[Any], dict[str, dict[str, Any]]] = cache(lambda model: adapt(model).json_schema()["properties"])


def explain(error: ValidationError, model: Any) -> str:
    """Return the sentence that says what is wrong with the first field that cannot be used."""
    fault = error.errors(include_url=False)[0]
    field, *entry = fault["loc"]
    schema = get_schema(model).get(str(field), {})
    if fault["type"] == "missing":
        wanted = schema.get("description", "")
        return f"{field} is missing: send {wanted[:1].lower()}{wanted[1:]}"
    named = f"{field}: {show(fault['input'] if isinstance(entry[0], int) else entry[0])}" if entry else str(field)
    return f"{named} {describe_fault(fault, schema)}."


def describe_fault(fault: Mapping[str, Any], schema: Mapping[str, Any] | None = None) -> str:
    """Return the rest of a sentence that begins with a name: what is wrong, and what was sent.

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
    # The name of an entry of a list says its value.
    return f"{words}, not {show(value)}" if words.startswith("must be") and len(fault["loc"]) <= 1 else words


def show(value: Any) -> str:
    """Return a value as it may stand in a sentence: of a long text, its beginning."""
    if isinstance(value, str):
        shown = value if len(value) <= 60 else value[:60] + "…"
        return repr(shown) if shown.isprintable() else ascii(shown)
    if isinstance(value, bool | int | float) and abs(value) < 10**60:
        return str(value).lower()
    names = {dict: "an object", list: "a list", int: "such a number", float: "such a number"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a file")


class Request:
    """Base of the records of requests that become jobs: immutable dataclasses of pydantic.

    Attributes:
        kind: Name of the kind of job (see ``app/jobs/job_kinds.py``).
    """

    kind: ClassVar[str]

    @property
    def host(self) -> str:
        """The server of a library that the job asks most, or "": only so many jobs ask one at a time."""
        return ""

    def as_json(self) -> dict[str, Any]:
        """Return the record as it is kept in the row of its job."""
        record: dict[str, Any] = adapt(type(self)).dump_python(self, mode="json")
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Return the request in the row of a job."""
        request: Self = adapt(cls).validate_python(record)
        return request


class JsonObject(dict[str, Any]):
    """An object of a JSON document. Of a repeated name it has the last value, as ``json`` does.

    Attributes:
        repeated: Names that the object has more than once.
    """

    repeated: tuple[str, ...] = ()


def parse_json(document: str | bytes) -> Any:
    """Return the value of a JSON document, its objects as :class:`JsonObject`.

    Raises:
        ValueError: The document is not JSON, or nested too deeply.
    """
    try:
        return json.loads(document, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _build_object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = JsonObject(pairs)
    if len(found) < len(pairs):
        found.repeated = tuple(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a value of JSON")
