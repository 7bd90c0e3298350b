"""The manual for client developers agrees with the code: routes, fields, answers, commands and tables."""

import io
import json
import re
from typing import Any

import pytest
from flask import Flask
from werkzeug.datastructures import FileStorage

from app import errors
from app.delivery.kinds import Kind, Status
from app.delivery.outbox import RETRY_DELAYS
from app.exports import FORMATS
from app.jobs.requests import read
from app.jobs.requests.reading import adapt, get_schema, parse_json
from app.jobs.states import State
from app.routes.answers import Error
from app.routes.openapi import list_api_rules
from app.routes.operations import JSON, MULTIPART, Operation, get_operation
from app.server.authentication import OPEN
from app.similarity.backbones import BACKBONES, Pooling
from app.similarity.transpositions import Transposition
from tests.support.manual import (
    CLIENT_PAGES,
    NOT_RUN,
    Curl,
    find_names,
    find_table,
    find_tables,
    list_blocks,
    parse_curl,
    read_page,
    split_commands,
    split_sections,
)

API = read_page("docs/api.md")
OWN_SECTIONS = split_sections(API)
SECTIONS = split_sections(read_page("docs/aikon.md")) | OWN_SECTIONS
METHODS = ("GET", "POST", "PUT", "DELETE")
FIELDS = ("field", "query parameter")
UNITS = {"s": 1, "min": 60, "h": 3600}


def list_routes(app: Flask) -> dict[str, str]:
    """Return the endpoint of each route, by the name that the manual gives it."""
    routes = {}
    for rule in list_api_rules(app):
        (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        path = re.sub(r"<any\(.*?\):", "<", rule.rule)
        path = path.replace("<job_id>", "<id>").replace("<pair>", "<a>-<b>").replace("<path:path>", "<path>")
        routes[f"{method} {path}"] = rule.endpoint
    return routes


def list_operations(app: Flask) -> dict[str, Operation]:
    return {name: get_operation(app.view_functions[endpoint]) for name, endpoint in list_routes(app).items()}


def list_commands(page: str) -> list[list[str]]:
    """Return the commands of a page that the tests can read."""
    text = re.sub(
        rf"{re.escape(NOT_RUN)}\n+```.*?^```$", "", read_page(f"docs/{page}.md"), flags=re.DOTALL | re.MULTILINE
    )
    return [words for block in list_blocks(text, "shell") for words in split_commands(block)]


def read_fields(curl: Curl) -> Any:
    """Return the fields of a request, its files empty."""
    if curl.data:
        return parse_json(curl.data)
    return {name: FileStorage(io.BytesIO()) if text[:1] == "@" else text for name, text in curl.form.items()}


def test_every_route_has_a_section(app: Flask) -> None:
    assert {name for name in SECTIONS if name.startswith(METHODS)} == set(list_routes(app))


def test_the_table_of_contents_lists_every_section_in_order() -> None:
    rows = [find_names(row[0])[0] for row in find_table(OWN_SECTIONS["Routes"], "route") if find_names(row[0])]
    listed = [name for name in SECTIONS if name.startswith(METHODS)]
    assert sorted(rows) == sorted(listed)
    own = [name for name in listed if name in OWN_SECTIONS]
    assert [row for row in rows if row in own] == own


def test_the_tables_name_the_fields_of_each_route(app: Flask) -> None:
    for route, operation in list_operations(app).items():
        tables = [table for table in find_tables(SECTIONS[route]) if table[0][0] in FIELDS and "required" in table[0]]
        model = operation.body or operation.query
        shown = {name: row[1] for table in tables for row in table[1:] for name in find_names(row[0])}
        assert set(shown) == (set(get_schema(model)) if model else set()), route
        required = adapt(model).json_schema().get("required", []) if model else []
        assert {name for name, word in shown.items() if word == "yes"} == set(required), route


def test_the_examples_have_the_form_of_the_answers(app: Flask) -> None:
    for route, operation in list_operations(app).items():
        blocks = list_blocks(SECTIONS[route], "json")
        if operation.answer is None or route == "GET /openapi.json":
            assert blocks == [], route
        else:
            example, form = json.loads(blocks[0]), adapt(operation.answer)
            assert form.dump_python(form.validate_python(example)) == example, route
    (error,) = list_blocks(SECTIONS["Errors"], "json")
    assert adapt(Error).validate_json(error) == json.loads(error)


def test_every_code_of_an_error_is_explained() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    codes = {each.code for each in kinds if issubclass(each, errors.ExtractorError)}
    refusals = {name for row in find_table(SECTIONS["Errors"], "status", "`code`") for name in find_names(row[1])}
    failures = {
        name
        for table in find_tables(SECTIONS["GET /jobs/<id>"])
        if table[0][0] == "`error.code`"
        for row in table[1:]
        for name in find_names(row[0])
    }
    # These end neither a request nor a job: see the errors module.
    assert codes - refusals - failures == {"bad_settings", "result_gone", "lease_lost"}


@pytest.mark.parametrize("page", CLIENT_PAGES)
def test_every_command_is_a_request_that_the_api_accepts(app: Flask, page: str) -> None:
    routes = app.url_map.bind("api")
    for words in list_commands(page):
        if re.fullmatch(r"[A-Z_]+=.*", words[0]):
            continue
        assert words[0] == "curl", words
        curl = parse_curl(words)
        path, _, query = curl.target.partition("?")
        endpoint, _ = routes.match(path, curl.method)
        operation = get_operation(app.view_functions[endpoint])
        assert ("X-API-Key" in curl.headers) == (endpoint.partition(".")[0] not in OPEN), words
        for model, fields in ((operation.body, read_fields(curl)), (operation.query, read_query(query))):
            assert set(fields) <= (set(get_schema(model)) if model else set()), words
            if model and (fields or model is operation.body):
                read(model, fields)
        if curl.data:
            assert (curl.headers["Content-Type"], JSON in operation.body_types) == (JSON, True), words
        elif curl.form:
            assert MULTIPART in operation.body_types, words


def read_query(query: str) -> dict[str, str]:
    return dict(part.split("=") for part in query.split("&") if part)


@pytest.mark.parametrize(
    ("page", "head", "words"),
    [
        ("api", "`state`", State),
        ("exports", "read by", FORMATS),
        ("webhooks", "`status`", Status),
        ("webhooks", "`type`", [kind for kind in Kind if kind is not Kind.RESULT]),
        ("similarity", "`model`", [*BACKBONES, "timm:<model name>"]),
        ("similarity", "first image of the pair", Transposition),
        ("similarity", "vector", Pooling),
    ],
)
def test_the_tables_of_words_are_complete(page: str, head: str, words: Any) -> None:
    (table,) = [table for table in find_tables(read_page(f"docs/{page}.md")) if head in table[0]]
    assert {name for row in table[1:] for name in find_names(row[0])} == set(map(str, words))


def test_the_schedule_of_attempts_is_that_of_the_outbox() -> None:
    rows = find_table(read_page("docs/webhooks.md"), "attempt", "wait before it")
    waits = [int(number) * UNITS[unit] for number, unit in (row[1].split() for row in rows)]
    assert (waits, [int(row[0]) for row in rows]) == (list(RETRY_DELAYS), list(range(2, len(RETRY_DELAYS) + 2)))
