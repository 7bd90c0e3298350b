"""``GET /openapi.json``: what every route takes and answers, generated from the routes and their records.

A path, its parameters and whether it needs a key come from Flask; the summary is the first line of the view; bodies,
queries and answers come from the decorators in ``operations``, and their schemas from pydantic.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from flask import Blueprint, Flask, current_app, jsonify
from flask.typing import ResponseReturnValue
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from werkzeug.routing import Rule

from app.config import PRODUCT, VERSION
from app.jobs.requests.reading import adapt, get_schema
from app.routes.answers import Document, Error
from app.routes.operations import FORMS, JSON, Operation, View, answers, get_operation
from app.server.authentication import OPEN, PROBES

routes = Blueprint("openapi", __name__)

INTRODUCTION = (
    "Finds the illustrations in digitised historical documents, and compares them: takes the address of a IIIF "
    "manifest, or of lists of images, and posts boxes or scores to the client app that asked. Fields that are not "
    "named here may be added to any answer."
)
REFUSALS = {
    400: "There is no API key, or a field cannot be used: the message names it.",
    403: "The API key is not known.",
    404: "You have no such job or data set, or there is nothing of that name.",
    413: "The request is too large, or something in it.",
    429: "There were too many requests.",
    503: "The database or the broker cannot be used now, or enough others do the same: nothing was done.",
    507: "The server's disk is full: nothing was done.",
}
PARAMETERS = {
    "job_id": "Id of a job of yours.",
    "pair": "Ids of two documents: <id>-<id>.",
    "path": "Name of a file that GET /jobs/<id>/files lists.",
    "name": "Name of a data set, or of weights, with or without .pt.",
}
# View → the path that its answer leads to, and where the answer has the parameter.
LINKS = {
    "submissions.run_detect": ("/jobs/{job_id}", {"job_id": "$response.body#/job_id"}),
    "jobs.index": ("/jobs/{job_id}", {"job_id": "$response.body#/jobs/0/job_id"}),
    "results.list_files": (
        "/jobs/{job_id}/files/{path}",
        {"job_id": "$request.path.job_id", "path": "$response.body#/files/0/name"},
    ),
    "datasets.list_datasets": ("/datasets/{name}", {"name": "$response.body#/datasets/0/name"}),
    "models.show_default": ("/models/{name}", {"name": "$response.body#/default"}),
}


@routes.get("/openapi.json")
@answers(Document)
def show_document() -> ResponseReturnValue:
    """Return this document."""
    if "openapi" not in current_app.extensions:
        current_app.extensions["openapi"] = build_document(current_app)
    return jsonify(current_app.extensions["openapi"])


def build_document(app: Flask) -> dict[str, Any]:
    """Return the document, of version 3.1 (https://spec.openapis.org/oas/v3.1.1.html)."""
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
    views = {rule.endpoint: app.view_functions[rule.endpoint] for rule in rules}
    schemas = Schemas(map(get_operation, views.values()))
    paths: dict[str, Any] = {}
    for rule in rules:
        (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        described = _describe(rule, views[rule.endpoint], schemas)
        if rule.endpoint in LINKS:
            described["responses"]["200"]["links"] = dict(_link(*LINKS[rule.endpoint], rules))
        paths.setdefault(_name_path(rule), {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": PRODUCT, "version": VERSION, "description": INTRODUCTION},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
            "schemas": schemas.components,
            "responses": {str(status): _refuse(status, schemas) for status in REFUSALS},
        },
    }


class Schemas:
    """The JSON schemas of all records.

    Args:
        operations: What takes and answers the records.

    Attributes:
        components: Schemas by name.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        used = [(each.body, each.query, each.answer, each.unwell) for each in operations]
        types = dict.fromkeys(each for some in [*used, (Error,)] for each in some if each is not None)
        inputs: list[tuple[Any, Literal["validation"], TypeAdapter[Any]]]
        inputs = [(each, "validation", adapt(each)) for each in types]
        found, definitions = TypeAdapter.json_schemas(
            inputs, ref_template="#/components/schemas/{model}", schema_generator=PlainSchema
        )
        self.components: dict[str, Any] = definitions["$defs"]
        self._schemas = {each: schema for (each, _), schema in found.items()}
        self._queries = {query: self.components.pop(query.__name__) for _, query, *_ in used if query}

    def refer(self, record: Any) -> dict[str, Any]:
        return self._schemas[record]

    def list_fields(self, query: Any) -> dict[str, Any]:
        """Return the schema of each field of a query."""
        fields: dict[str, Any] = self._queries[query]["properties"]
        return fields


class PlainSchema(GenerateJsonSchema):
    """Leaves out what says nothing: titles that repeat the name of a field, and empty texts as defaults."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        return {key: value for key, value in described.items() if (key, value) != ("default", "")}


def _describe(rule: Rule, view: View, schemas: Schemas) -> dict[str, Any]:
    """Return the operation of a route."""
    operation, blueprint = get_operation(view), rule.endpoint.partition(".")[0]
    described: dict[str, Any] = {
        "operationId": rule.endpoint,
        "summary": (view.__doc__ or "").partition("\n")[0],
        "parameters": [*_list_parameters(rule, operation, schemas)],
    }
    if operation.body:
        described["requestBody"] = {"required": True, "content": dict(_list_bodies(operation, schemas))}
    if blueprint in OPEN:
        described["security"] = []
    content = {kind: {"schema": schema} for kind, schema in operation.other_types.items()}
    if operation.answer:
        content[JSON] = {"schema": schemas.refer(operation.answer)}
    described["responses"] = {"200": {"description": "OK", "content": content}}
    for status in sorted(_list_refusals(rule, operation, blueprint)):
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
    if operation.unwell:
        unwell = {JSON: {"schema": schemas.refer(operation.unwell)}}
        described["responses"]["503"] = {"description": "It does not.", "content": unwell}
    return described


def _list_parameters(rule: Rule, operation: Operation, schemas: Schemas) -> Iterator[dict[str, Any]]:
    for name in sorted(rule.arguments):
        text = {"type": "string", "description": PARAMETERS[name]}
        yield {"name": name, "in": "path", "required": True, "schema": text}
    if operation.query:
        for name, schema in schemas.list_fields(operation.query).items():
            yield {"name": name, "in": "query", "schema": schema}


def _list_bodies(operation: Operation, schemas: Schemas) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each media type of a body. In a form, a list or an object is a text, its JSON."""
    fields = get_schema(operation.body).items()
    encoding = {name: {"contentType": JSON} for name, field in fields if field.get("type") in ("object", "array")}
    for kind in operation.body_types:
        form = {"encoding": encoding} if encoding and kind in FORMS else {}
        yield kind, {"schema": schemas.refer(operation.body)} | form


def _list_refusals(rule: Rule, operation: Operation, blueprint: str) -> set[int]:
    """Return the statuses of the refusals of a route."""
    refusals = set(operation.refuses)
    if blueprint not in PROBES:
        refusals |= {400, 429}
    if blueprint not in OPEN:
        refusals |= {403, 503}
    if rule.arguments:
        refusals.add(404)
    if operation.body:
        refusals.add(413)
    return refusals


def _link(place: str, parameters: dict[str, str], rules: Iterable[Rule]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a link to each operation at a place or below it."""
    for rule in rules:
        if (_name_path(rule) + "/").startswith(place + "/"):
            yield rule.endpoint, {"operationId": rule.endpoint, "parameters": parameters}


def _refuse(status: int, schemas: Schemas) -> dict[str, Any]:
    refusal = {"description": REFUSALS[status], "content": {JSON: {"schema": schemas.refer(Error)}}}
    wait = {"required": True, "description": "Seconds to wait.", "schema": {"type": "integer"}}
    return refusal | ({"headers": {"Retry-After": wait}} if status in (429, 503) else {})


def _name_path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
