"""Decorators that declare the input and the responses of views. ``/openapi.json`` is generated from them.

    @routes.post("/run_detect")
    @takes_body(DetectionRequest)
    @answers(Queued)
    def run_detect(body: DetectionRequest) -> ResponseReturnValue:

The decorators also read and validate the input. The view receives the record as its first argument.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any

from flask import request
from pydantic import InstanceOf, WithJsonSchema
from werkzeug.datastructures import CombinedMultiDict, FileStorage, MultiDict

from app.errors import RequestError
from app.jobs.requests import read
from app.jobs.requests.reading import JsonObject, parse_json, show

View = Callable[..., Any]

JSON, MULTIPART = "application/json", "multipart/form-data"
FORMS = (MULTIPART, "application/x-www-form-urlencoded")
BINARY = {"type": "string", "format": "binary"}
# The type of a form field that contains a file.
File = Annotated[InstanceOf[FileStorage], WithJsonSchema(BINARY)]


@dataclass
class Operation:
    """The input and the responses of a view.

    Attributes:
        body: Record of the request body; None without a body.
        body_types: Media types of the body.
        query: Record of the query; None without a query.
        answer: Type of the JSON response; None if the response is not JSON.
        other_types: Schemas of responses that are not JSON, by media type.
        unhealthy: Type of the response 503 of a probe.
        errors: Statuses of errors that are specific to the view.
    """

    body: Any = None
    body_types: Sequence[str] = ()
    query: Any = None
    answer: Any = None
    other_types: Mapping[str, Any] = field(default_factory=dict)
    unhealthy: Any = None
    errors: Sequence[int] = ()


def get_operation(view: View) -> Operation:
    """Return the declared input and responses of a view."""
    operation: Operation = view.__dict__.setdefault("operation", Operation())
    return operation


def takes_body(model: Any, kinds: Sequence[str] = FORMS) -> Callable[[View], View]:
    """Read the request body, a form or a JSON object, into a record.

    Args:
        model: Class of the record.
        kinds: Accepted media types.
    """

    def decorate(view: View) -> View:
        operation = get_operation(view)
        operation.body, operation.body_types = model, kinds
        return _prepend_record(view, lambda: read(model, _read_body(kinds)))

    return decorate


def takes_query(model: Any) -> Callable[[View], View]:
    """Read the query of the URL into a record."""

    def decorate(view: View) -> View:
        get_operation(view).query = model
        return _prepend_record(view, lambda: read(model, request.args))

    return decorate


def answers(
    answer: Any, *, others: Mapping[str, Any] | None = None, unhealthy: Any = None, errors: Sequence[int] = ()
) -> Callable[[View], View]:
    """Declare the responses of a view.

    Args:
        answer: Type of the JSON response; None if the response is not JSON.
        others: Schemas of other responses, by media type.
        unhealthy: Type of the response 503 of a probe.
        errors: Statuses of errors that are specific to the view.
    """

    def decorate(view: View) -> View:
        operation = get_operation(view)
        operation.answer, operation.other_types = answer, others or {}
        operation.unhealthy, operation.errors = unhealthy, errors
        return view

    return decorate


def _prepend_record(view: View, read_record: Callable[[], Any]) -> View:
    """Wrap a view: read a record and pass it as the first argument."""

    @wraps(view)
    def wrapped(**path: str) -> Any:
        return view(read_record(), **path)

    return wrapped


def _read_body(kinds: Sequence[str]) -> Mapping[str, Any]:
    is_absent = not request.mimetype and not request.content_length
    if JSON not in kinds or request.mimetype in FORMS or is_absent:
        chosen = [(name, file) for name, file in request.files.items(multi=True) if file]  # a browser sends empty ones
        return CombinedMultiDict([MultiDict(chosen), request.form])
    try:
        fields = parse_json(request.get_data())
    except ValueError as error:
        raise RequestError("The body is not JSON: send a JSON object or a form.") from error
    if not isinstance(fields, JsonObject):
        raise RequestError("The body is JSON but not an object: send a JSON object or a form.")
    if fields.repeated:
        raise RequestError(f"The body has the field {show(fields.repeated[0])} twice.")
    return fields
