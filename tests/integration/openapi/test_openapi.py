"""The OpenAPI document matches the service. Generated requests check every route.

A normal run sends some hundreds of requests; ``HYPOTHESIS_PROFILE=nightly`` sends more than 10,000.
"""

import json
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.jobs.job_kinds import KINDS
from app.jobs.requests import DetectionRequest, EvaluationRequest, TrainingRequest
from app.jobs.requests.reading import adapt
from app.jobs.states import DOWNLOAD
from app.routes.openapi import list_api_rules
from app.routes.operations import get_operation
from app.server.authentication import OPEN
from tests.integration.openapi.conftest import MANIFEST, UPLOADS
from tests.support.openapi_document import DOCUMENT, PATHS
from tests.support.rows import change_job

# Schemathesis is imported inside the tests: every test process imports this file, but only one runs it.
if TYPE_CHECKING:
    from schemathesis import Case

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]
PROBES = ("/healthz", "/readyz")  # 503 is one of their documented responses.
# No worker runs here. The jobs have no files, which schemathesis would not close. The weights are not a model. One
# corrected page is too few.
UNUSABLE = ("/readyz", "/jobs/{job_id}/files/{path}", "/models/{name}/default", "/jobs/{job_id}/dataset")
OF_COMPARISONS = [f"/jobs/{{job_id}}/{rest}" for rest in ("scores/{pair}", "groups", "pairs/{a}/{b}.jpg")]


def name_as_documented(rule: str) -> str:
    return re.sub(r"<(?:\w+(?:\(.*?\))?:)?(\w+)>", r"{\1}", rule)


def test_the_document_has_exactly_the_routes_of_the_service(app: Flask) -> None:
    served = {
        (name_as_documented(rule.rule), method.lower())
        for rule in list_api_rules(app)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(OPERATIONS) == served


def test_the_document_is_valid_openapi(app: Flask) -> None:
    from schemathesis import openapi

    openapi.from_wsgi("/openapi.json", app).validate()


def test_component_names_are_plain_and_all_used() -> None:
    text = json.dumps(DOCUMENT)
    for name in DOCUMENT["components"]["schemas"]:
        assert "__" not in name, "two records have the same name"
        assert f'"#/components/schemas/{name}"' in text, name


def test_routes_without_a_key_have_no_security_in_the_document(app: Flask) -> None:
    rules = [rule for rule in list_api_rules(app) if rule.endpoint.partition(".")[0] in OPEN]
    open_paths = {name_as_documented(rule.rule) for rule in rules}
    assert open_paths == {path for path, method in OPERATIONS if PATHS[path][method].get("security") == []}


FIGURES = {"name": "all", "illustrations": 3, "found": 2, "right": 2} | dict.fromkeys(
    ("precision", "recall", "ap50", "ap75", "ap50_95"), 0.5
)
FIGURES["intervals"] = {"ap50": [0.25, 0.75]}
EVALUATION = {
    "pages": 2,
    "empty_pages": 0,
    "confidence": 0.25,
    "iou": 0.7,
    "overall": FIGURES,
    "classes": [FIGURES | {"name": "initial", "ap50": None}],
    "best_confidence": None,
    "unreadable": [{"image_name": "x", "reason": "It is damaged."}],
    "ignored_classes": [],
    "missing_classes": ["initial"],
    "drawn": 1,
    "documents": 2,
    "calibration_error": None,
}


def test_every_field_of_a_job_is_documented(
    app: Flask, client: FlaskClient, headers: dict[str, str], job_ids: list[str]
) -> None:
    store, database = app.extensions["services"].jobs, app.extensions["services"].database
    collection, request = store.lease_next(DOWNLOAD), DetectionRequest(MANIFEST)
    store.expand(collection, *request.for_manifests(["https://library.example/1", "nowhere"]))
    training, evaluation = store.submit(1, [TrainingRequest("pages", 3), EvaluationRequest("pages")])
    client.post("/regions/start", headers=headers, json={"documents": [{"type": "iiif", "src": MANIFEST}]})
    learned = {"weights": "x.pt", "last_epoch": {"epoch": 3, "losses": {"box": None}}, "figures": {"val": EVALUATION}}
    change_job(database, training.id, coverage=learned)
    change_job(database, evaluation.id, coverage={"figures": EVALUATION})
    jobs = client.get("/jobs", headers=headers).json
    check_documented(app, "jobs.index", jobs)
    assert {job["kind"] for job in jobs["jobs"]} == set(KINDS)
    for job in jobs["jobs"]:
        check_documented(app, "jobs.show", client.get(f"/jobs/{job['job_id']}", headers=headers).json)


def test_a_request_has_all_fields_of_its_record_except_those_of_routes() -> None:
    schemas, internal = DOCUMENT["components"]["schemas"], {"refresh", "file_name", "file_digest"}
    record = DetectionRequest(MANIFEST).as_json().keys()
    assert {*schemas["ManifestForm"]["properties"]} | internal == record
    assert {*schemas["DetectionForm"]["properties"]} - {"file", "estimate"} | internal == record


def test_a_new_job_links_to_all_operations_on_jobs() -> None:
    links = PATHS["/run_detect"]["post"]["responses"]["200"]["links"]
    below = {
        operation["operationId"]
        for path, operations in PATHS.items()
        for operation in operations.values()
        if path.startswith("/jobs/{job_id}")
    }
    assert links.keys() == below


@pytest.mark.timeout(3600 if NIGHTLY else 300)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_response_is_documented(
    app: Flask,
    headers: dict[str, str],
    job_ids: list[str],
    fronts: dict[str, Callable[[str], str]],
    path: str,
    method: str,
) -> None:
    from schemathesis import GenerationMode, openapi
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    # This test sends the keys. With generated keys, no request would get past authentication.
    schema = openapi.from_dict(DOCUMENT | {"security": []})
    schema.app = app
    operation = schema[path][method]
    kinds = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
    statuses: set[int] = set()
    # A new default is first tried in a process of its own.
    most = 2 if path == "/models/{name}/default" else 25

    @examples(
        max_examples=1500 if NIGHTLY else most,
        deadline=None,
        derandomize=not NIGHTLY,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=st.one_of(kinds),
        job_id=st.sampled_from(job_ids),
        usable=st.sampled_from([True, True, False]),
        key=st.sampled_from([headers] * 8 + [{}, {"X-API-Key": "no"}]),
    )
    def hold(case: "Case", job_id: str, usable: bool, key: dict[str, str]) -> None:
        if usable:
            fixed = {"/jobs/{job_id}/matches": job_ids[-2]} | dict.fromkeys(OF_COMPARISONS, job_ids[-1])
            if PATHS[path][method]["operationId"].startswith("aikon."):
                use_task_of_front(case, fronts)
            else:
                use_existing_objects(case, fixed.get(path, job_id))
        checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
        if path not in PROBES:
            checks.insert(0, not_a_server_error)
        answer = case.call_and_validate(headers=key, checks=checks)
        statuses.add(answer.status_code)
        if answer.status_code == 200 and "application/json" in answer.headers["content-type"][0]:
            check_documented(app, PATHS[path][method]["operationId"], answer.json())

    hold()
    assert 200 in statuses or path in UNUSABLE, "no generated request was accepted by the view"


def check_documented(app: Flask, endpoint: str, answer: Any) -> None:
    """Check that a response has the declared type of its view, and no additional fields."""
    described = adapt(get_operation(app.view_functions[endpoint]).answer)
    assert described.validate_python(answer) == answer  # validation drops unknown fields


def use_task_of_front(case: "Case", fronts: dict[str, Callable[[str], str]]) -> None:
    """Insert existing objects into a generated request of a front."""
    case.path_parameters |= {name: fronts[name](case.path) for name in fronts if name in case.path_parameters}
    if isinstance(case.body, dict):
        documents = [{"type": "url_list", "src": MANIFEST, "uid": "query"}]
        case.body = {"documents": documents, "index_id": fronts["tracking_id"]("/search/indexing/")}


def use_existing_objects(case: "Case", job_id: str) -> None:
    """Insert existing objects into a generated request: job IDs, names of weights and data sets, URLs."""
    if "job_id" in case.path_parameters:
        case.path_parameters["job_id"] = job_id
    if "name" in case.path_parameters:
        case.path_parameters["name"] = "eida" if "datasets" in case.path else "illustrations"
    documents = {"pair": "b-a", "a": "a", "b": "b", "number": "1"}
    case.path_parameters |= {name: value for name, value in documents.items() if name in case.path_parameters}
    case.query |= {name: "1" for name in ("image_1", "image_2") if name in case.query}
    if isinstance(case.body, dict):
        model = "timm:x" if "documents" in case.body else "illustrations"
        there: dict[str, Any] = {"model": model, "url_file": f"{MANIFEST}\nnowhere\n".encode()}
        there |= dict.fromkeys(("name", "data", "dataset"), "eida") | {"epochs": "3", "split": "val"}
        there |= {"manifest_url": MANIFEST, "callback": "", "image_size": "", "file": MANIFEST.encode()}
        boxes = [{"xywh": [1, 2, 3, 4]}]
        there["boxes"] = boxes if case.media_type == "application/json" else json.dumps(boxes)
        if case.path == "/search":
            case.body = {"image_url": MANIFEST}
        if case.path == "/run_detect" and "manifest_url" in case.body:
            case.body.pop("file", None)
        if case.path == "/run_similarity":
            sources = {"a": MANIFEST, "b": {"url": MANIFEST}}
            there["documents"] = sources if case.media_type == "application/json" else json.dumps(sources)
        case.body |= {name: value for name, value in (there | UPLOADS).items() if name in case.body}
