"""Decorators of views: what a view takes and answers. They read the request, and tell ``/openapi.json`` about both.

    @routes.post("/run_detect")
    @takes_body(DetectionRequest)
    @answers(Queued)
    def run_detect(wanted: DetectionRequest) -> ResponseReturnValue:

The view receives the validated record as its first argument; a request that cannot be used never gets there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any

from flask import request
from pydantic import InstanceOf, WithJsonSchema
from werkzeug.datastructures import CombinedMultiDict, FileStorage

from app.errors import RequestError
from app.jobs.requests import read
from app.jobs.requests.reading import JsonObject, parse_json, show

View = Callable[..., Any]

JSON, MULTIPART = "application/json", "multipart/form-data"
FORMS = (MULTIPART, "application/x-www-form-urlencoded")
BINARY = {"type": "string", "format": "binary"}
# A field of a form that is a file.
File = Annotated[InstanceOf[FileStorage], WithJsonSchema(BINARY)]


@dataclass
class Operation:
    """What is known of a view.

    Attributes:
        body: Record of the body of a request; None when it has none.
        body_types: Media types of the body.
        query: Record of the query; None when there is none.
        answer: Type of the JSON answer; None when there is none.
        other_types: Schemas of the answers that are not JSON, by media type.
        unwell: Type of the answer 503, of a probe.
        refuses: Further statuses of a refusal.
    """

    body: Any = None
    body_types: Sequence[str] = ()
    query: Any = None
    answer: Any = None
    other_types: Mapping[str, Any] = field(default_factory=dict)
    unwell: Any = None
    refuses: Sequence[int] = ()


def get_operation(view: View) -> Operation:
    """Return what is known of a view."""
    operation: Operation = view.__dict__.setdefault("operation", Operation())
    return operation


def takes_body(model: Any, kinds: Sequence[str] = FORMS) -> Callable[[View], View]:
    """Read the body of a request: a form or, where that is one of the media types, a JSON object.

    Args:
        model: Class of the record.
        kinds: Media types of the body.
    """

    def decorate(view: View) -> View:
        operation = get_operation(view)
        operation.body, operation.body_types = model, kinds
        return _pass(view, lambda: read(model, _read_body(kinds)))

    return decorate


def takes_query(model: Any) -> Callable[[View], View]:
    """Read the query of a request."""

    def decorate(view: View) -> View:
        get_operation(view).query = model
        return _pass(view, lambda: read(model, request.args))

    return decorate


def answers(
    answer: Any, *, others: Mapping[str, Any] | None = None, unwell: Any = None, refuses: Sequence[int] = ()
) -> Callable[[View], View]:
    """Note what a view answers.

    Args:
        answer: Type of the JSON answer; None when there is none.
        others: Schemas of other answers, by media type.
        unwell: Type of the answer 503, of a probe.
        refuses: Statuses of a refusal that other views do not have.
    """

    def decorate(view: View) -> View:
        operation = get_operation(view)
        operation.answer, operation.other_types = answer, others or {}
        operation.unwell, operation.refuses = unwell, refuses
        return view

    return decorate


def _pass(view: View, read_record: Callable[[], Any]) -> View:
    """Return a view that reads its record, and then does as before."""

    @wraps(view)
    def wrapped(**path: str) -> Any:
        return view(read_record(), **path)

    return wrapped


def _read_body(kinds: Sequence[str]) -> Mapping[str, Any]:
    if JSON not in kinds or request.mimetype in FORMS:
        return CombinedMultiDict([request.files, request.form])
    try:
        fields = parse_json(request.get_data())
    except ValueError as error:
        raise RequestError("The body is not JSON: send a JSON object or a form.") from error
    if not isinstance(fields, JsonObject):
        raise RequestError("The body is JSON but not an object: send a JSON object or a form.")
    if fields.repeated:
        raise RequestError(f"The body has the field {show(fields.repeated[0])} twice.")
    return fields
