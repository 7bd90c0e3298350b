"""``GET /openapi.json``: the OpenAPI document, generated from the routes.

=============================  ==================================================
part of the document           source
=============================  ==================================================
paths, parameters, security    rules and blueprints of Flask
summaries and descriptions     docstrings of the views
bodies, queries and responses  decorators of the views (``operations``)
schemas                        pydantic, from the records of requests and answers
=============================  ==================================================
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from werkzeug.routing import Rule

from app.config import PRODUCT, VERSION
from app.jobs.requests.reading import adapt, get_schema
from app.routes.answers import Document, Error
from app.routes.operations import FORMS, JSON, Operation, View, answers, get_operation
from app.server.authentication import LINKED, OPEN, OPEN_PAGES, PAGES, PROBES

routes = Blueprint("openapi", __name__)

INTRODUCTION = (
    "Detects the illustrations in digitised historical documents, compares them, and trains detection weights.\n\n"
    "Send your API key in the header `X-API-Key`. A request that takes time creates a job and returns its ID at once. "
    "`GET /jobs/{job_id}` shows the progress of the job. The result is posted to the `callback` of the request, "
    "and it can also be downloaded.\n\n"
    "Responses may get additional fields in later versions: ignore fields that you do not know."
)
ERRORS = {
    400: "The API key is missing, or a part of the request is invalid. `message` says which.",
    403: "The key or the token is unknown, the signed link is not valid, or your network may not omit the key.",
    404: "The object does not exist, or it belongs to another client app.",
    413: "The request, or a file in it, exceeds a size limit.",
    429: "The rate limit is exceeded.",
    503: "The server cannot handle the request at the moment. `message` says why. Nothing was changed.",
    507: "The disk of the server is full. Nothing was changed.",
}
# Descriptions of path parameters, by name or by blueprint and name.
PARAMETERS = {
    "job_id": "The ID of the job.",
    "pair": "The IDs of two documents of the job, in either order: `<id>-<id>`.",
    "a": "The ID of a document of the job.",
    "b": "The ID of a document of the job; it may be the same one.",
    "number": "The number of the page, from 1.",
    "path": "The name of a file, as listed by `GET /jobs/{job_id}/files`.",
    "aikon.task": "The task of the front.",
    "aikon.tracking_id": "The ID of the task.",
    "aikon.doc_id": "The ID of the document in the front.",
    "aikon.name": "The last part of a `result_url`.",
    "datasets.name": "The name of the data set.",
    "models.name": "The name of the weights, with or without `.pt`.",
    "default_model.name": "The name of the weights, with or without `.pt`.",
}
# OpenAPI links. View → the path that its response leads to, and the values of the path parameters in the response.
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
    """Return this OpenAPI document."""
    if "openapi" not in current_app.extensions:
        current_app.extensions["openapi"] = build_document(current_app)
    return jsonify(current_app.extensions["openapi"] | {"servers": [{"url": request.script_root or "/"}]})


def list_api_rules(app: Flask) -> list[Rule]:
    """Return the routes for programs, without the pages for people."""
    rules = (rule for rule in app.url_map.iter_rules() if rule.endpoint.partition(".")[0] not in (PAGES, OPEN_PAGES))
    return sorted(rules, key=lambda rule: rule.rule)


def build_document(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document, version 3.1 (https://spec.openapis.org/oas/v3.1.1.html)."""
    rules = list_api_rules(app)
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
            "responses": {str(status): _describe_error(status, schemas) for status in ERRORS},
        },
    }


class Schemas:
    """The JSON schemas of all records.

    Args:
        operations: Operations that use the records.

    Attributes:
        components: Schemas by name, for the section ``components``.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        used = [(each.body, each.query, each.answer, each.unhealthy) for each in operations]
        types = dict.fromkeys(each for some in [*used, (Error,)] for each in some if each is not None)
        inputs: list[tuple[Any, Literal["validation"], TypeAdapter[Any]]]
        inputs = [(each, "validation", adapt(each)) for each in types]
        found, definitions = TypeAdapter.json_schemas(
            inputs, ref_template="#/components/schemas/{model}", schema_generator=PlainSchema
        )
        self.components: dict[str, Any] = definitions["$defs"]
        self._schemas = {each: schema for (each, _), schema in found.items()}
        queries = dict.fromkeys(query for _, query, *_ in used if query)
        self._queries = {query: self.components.pop(query.__name__) for query in queries}

    def refer(self, record: Any) -> dict[str, Any]:
        return self._schemas[record]

    def list_fields(self, query: Any) -> dict[str, Any]:
        """Return the schemas of the fields of a query, by name, each with the additional key ``required``."""
        schema = self._queries[query]
        needed = schema.get("required", ())
        return {name: field | {"required": name in needed} for name, field in schema["properties"].items()}


class PlainSchema(GenerateJsonSchema):
    """Omits redundant parts: titles that repeat the name of a field, and empty strings as defaults."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        return {key: value for key, value in described.items() if (key, value) != ("default", "")}


def _describe(rule: Rule, view: View, schemas: Schemas) -> dict[str, Any]:
    """Return the OpenAPI operation of a route."""
    operation, blueprint = get_operation(view), rule.endpoint.partition(".")[0]
    summary, _, details = (inspect.getdoc(view) or "").partition("\n\n")
    described: dict[str, Any] = {"operationId": rule.endpoint, "summary": summary}
    if details:
        described["description"] = details
    described["parameters"] = [*_list_parameters(rule, operation, schemas)]
    if operation.body:
        described["requestBody"] = {"required": True, "content": dict(_list_bodies(operation, schemas))}
    if blueprint in OPEN:
        described["security"] = []
    if blueprint in LINKED:
        described["security"] = [{"key": []}, {}]
    content = {kind: {"schema": schema} for kind, schema in operation.other_types.items()}
    if operation.answer:
        content[JSON] = {"schema": schemas.refer(operation.answer)}
    described["responses"] = {"200": {"description": "The request succeeded.", "content": content}}
    for status in sorted(_list_errors(rule, operation, blueprint)):
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
    if operation.unhealthy:
        unhealthy = {JSON: {"schema": schemas.refer(operation.unhealthy)}}
        described["responses"]["503"] = {"description": "The check failed. `message` says why.", "content": unhealthy}
    return described


def _list_parameters(rule: Rule, operation: Operation, schemas: Schemas) -> Iterator[dict[str, Any]]:
    blueprint = rule.endpoint.partition(".")[0]
    for name in sorted(rule.arguments):
        description = PARAMETERS.get(f"{blueprint}.{name}") or PARAMETERS[name]
        schema: dict[str, Any] = {"type": "string"}
        if choices := getattr(rule._converters[name], "items", None):
            schema["enum"] = sorted(choices)
        yield {"name": name, "in": "path", "required": True, "description": description, "schema": schema}
    if operation.query:
        for name, field in schemas.list_fields(operation.query).items():
            schema = {key: value for key, value in field.items() if key not in ("description", "required")}
            needed = {"required": True} if field["required"] else {}
            yield {"name": name, "in": "query", **needed, "description": field["description"], "schema": schema}


def _list_bodies(operation: Operation, schemas: Schemas) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each media type of a body with its schema. Forms contain lists and objects as JSON text."""
    fields = get_schema(operation.body).items()
    encoding = {name: {"contentType": JSON} for name, field in fields if field.get("type") in ("object", "array")}
    for kind in operation.body_types:
        form = {"encoding": encoding} if encoding and kind in FORMS else {}
        yield kind, {"schema": schemas.refer(operation.body)} | form


def _list_errors(rule: Rule, operation: Operation, blueprint: str) -> set[int]:
    """Return the statuses of the errors of a route."""
    errors = set(operation.errors)
    if blueprint not in PROBES:
        errors |= {400, 429}
    if blueprint not in OPEN:
        errors |= {403, 503}
    if rule.arguments:
        errors.add(404)
    if operation.body:
        errors.add(413)
    return errors


def _link(path: str, parameters: dict[str, str], rules: Iterable[Rule]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a link to each operation at or below a path."""
    for rule in rules:
        if (_name_path(rule) + "/").startswith(path + "/"):
            yield rule.endpoint, {"operationId": rule.endpoint, "parameters": parameters}


def _describe_error(status: int, schemas: Schemas) -> dict[str, Any]:
    response = {"description": ERRORS[status], "content": {JSON: {"schema": schemas.refer(Error)}}}
    wait = {"required": True, "description": "Seconds to wait before the next attempt.", "schema": {"type": "integer"}}
    return response | ({"headers": {"Retry-After": wait}} if status in (429, 503) else {})


def _name_path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+(?:\(.*?\))?:)?(\w+)>", r"{\1}", rule.rule)
