"""The OpenAPI document matches the service. Generated requests check every route.

A normal run sends some hundreds of requests; ``HYPOTHESIS_PROFILE=nightly`` sends more than 10,000.
"""

import io
import json
import os
import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.config import Settings
from app.database.tables import Job
from app.delivery.kinds import Kind
from app.delivery.outbox import enqueue
from app.delivery.payloads import Destination
from app.delivery.result_parts import enqueue_parts
from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.detection.corrections import CorrectedBox, Correction, save_correction
from app.exports.annotation_files import format_json, format_text
from app.jobs.job_kinds import KINDS
from app.jobs.requests import DetectionRequest, EvaluationRequest, TrainingRequest
from app.jobs.requests.reading import adapt
from app.jobs.states import DOWNLOAD, STAGES
from app.routes.openapi import list_api_rules
from app.routes.operations import get_operation
from app.server.authentication import OPEN
from app.storage import write_atomic
from app.training.dataset_records import SPLITS
from tests.support.archives import BOX as BOX_ROW
from tests.support.archives import YAML, make_image, make_zip
from tests.support.comparison_results import SAME, save_result, save_verified
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
MANIFEST = "https://library.example/manifest.json"
BOX = BoxRecord((1, 2, 3, 4), 0.9, 0, "illustration")
PAGE_FILES = [("images", "jpg", make_image()), ("labels", "txt", BOX_ROW)]
UPLOADS = {
    "img_zip": make_zip({"a.jpg": make_image()}).getvalue(),
    "anno_zip": make_zip({"a.txt": BOX_ROW}).getvalue(),
    "dataset_zip": make_zip(
        {f"{folder}/{split}/a.{ending}": content for split in SPLITS for folder, ending, content in PAGE_FILES}
    ).getvalue(),
    "yaml_file": YAML,
}
PAGES = [
    AnnotatedPage(1, "https://library.example/1", "1.jpg", 800, 600, PageStatus.DETECTED, (BOX,)),
    AnnotatedPage(2, "", "2.jpg", None, None, PageStatus.FAILED, reason="It is gone."),
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Disable the rate limits."""
    return settings.model_copy(update={"rate_limit": "off", "rate_limit_address": "off"})


@pytest.fixture
def compared(app: Flask, client: FlaskClient, headers: dict[str, str]) -> str:
    """A similarity job in state done, with failed images."""
    body = {"documents": {"a": MANIFEST, "b": MANIFEST}, "transpositions": ["hflip"]}
    job_id: str = client.post("/run_similarity", headers=headers, json=body).json["job_id"]
    jobs, folder = app.extensions["services"].jobs, app.extensions["services"].storage.job(job_id)
    for stage in STAGES:
        jobs.finish_stage(jobs.lease_next(stage), stage, 1.0)
    failed = [{"image_name": "x", "reason": "It is gone."}]
    documents = [{"doc_id": each, "images": 2, "usable": 1, "failed": failed, "error": None} for each in ("a", "b")]
    change_job(app.extensions["services"].database, job_id, coverage={"documents": documents})
    with app.extensions["services"].database.session() as session:
        to = Destination("https://app.example/similarity", "https://app.example")
        enqueue_parts(session, session.get(Job, job_id), to, {"a-a": "1", "a-b": "2", "b-b": "3"})
    save_result(folder, ["a", "b"])
    images, verified = {"a": ["1", "2"], "b": ["1", "2"]}, {("a", 0, "b", 1): SAME}
    save_verified(app.extensions["services"].storage, job_id, images, verified)
    services, job = app.extensions["services"], jobs.find(job_id)
    services.documents.record(job, {"a": MANIFEST, "b": MANIFEST})
    services.documents.record_content(job, "a", "content of a")
    return job_id


@pytest.fixture
def searched(app: Flask, client: FlaskClient, headers: dict[str, str], compared: str) -> str:
    """A search in state done."""
    job_id: str = client.post("/search", headers=headers, json={"image_url": MANIFEST}).json["job_id"]
    services = app.extensions["services"]
    write_atomic(
        services.storage.job(job_id).matches, json.dumps({"documents": 1, "images": 2, "matches": []}).encode()
    )
    for stage in STAGES:
        services.jobs.finish_stage(services.jobs.lease_next(stage), stage, 1.0)
    return job_id


@pytest.fixture
def job_ids(app: Flask, client: FlaskClient, headers: dict[str, str], compared: str, searched: str) -> list[str]:
    """Six jobs: done with a failed canvas, cancelled, queued, queued, and a search and a similarity job, both done."""
    jobs = [client.post("/run_detect", headers=headers, data={"manifest_url": MANIFEST}).json for _ in range(4)]
    done, cancelled, *waiting = [job["job_id"] for job in jobs]
    client.post(f"/jobs/{cancelled}/cancel", headers=headers)
    jobs, folder = app.extensions["services"].jobs, app.extensions["services"].storage.job(done)
    for stage in STAGES:
        jobs.finish_stage(jobs.lease_next(stage), stage, 1.0)
    coverage = {"detected": 1, "empty": 0, "failed": [{"canvas_number": 2, "reason": "It is gone."}]}
    change_job(app.extensions["services"].database, done, coverage=coverage)
    with app.extensions["services"].database.session() as session:
        enqueue(
            session, session.get(Job, done), Kind.RESULT, Destination("https://app.example/in/x", "https://app.example")
        )
    folder.path.mkdir(parents=True)
    folder.annotations.write_text(format_text(PAGES))
    folder.annotations_json.write_text(json.dumps(format_json(PAGES)))
    services = app.extensions["services"]
    save_correction(folder, 1, Correction((CorrectedBox((1, 2, 3, 4), "initial"),), "somebody", 1.0))
    folder.save("pages", 1, {"file": "1.image"})
    write_atomic(services.storage.images(MANIFEST) / "1.image", make_image())
    return [done, cancelled, *waiting, searched, compared]


@pytest.fixture
def _dataset(client: FlaskClient, headers: dict[str, str]) -> None:
    """A data set with the name ``eida``."""
    form = {field: (io.BytesIO(UPLOADS[field]), "eida.yaml") for field in ("dataset_zip", "yaml_file")}
    assert client.post("/send-dataset", headers=headers, data=form).status_code == 200


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


def test_routes_without_a_key_have_no_security_in_the_document(app: Flask) -> None:
    rules = [rule for rule in list_api_rules(app) if rule.endpoint.partition(".")[0] in OPEN]
    open_paths = {name_as_documented(rule.rule) for rule in rules}
    assert open_paths == {path for path, method in OPERATIONS if PATHS[path][method].get("security") == []}


FIGURES = {"name": "all", "illustrations": 3, "found": 2, "right": 2} | dict.fromkeys(
    ("precision", "recall", "ap50", "ap50_95"), 0.5
)
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


@pytest.mark.usefixtures("_dataset")
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
    most = 4 if path == "/models/{name}/default" else 25

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


@pytest.fixture
def fronts(app: Flask, client: FlaskClient, headers: dict[str, str]) -> dict[str, Callable[[str], str]]:
    """Tasks of a front in state done: regions, similarity and indexing; functions that give a value for a path."""
    documents, ids, parts = [{"type": "url_list", "src": MANIFEST, "uid": "a"}], {}, {}
    services = app.extensions["services"]
    for task in ("regions", "similarity", "search/indexing", "search/query"):
        body = {"documents": documents, "index_id": ids.get("search/indexing", ""), "feat_net": "illustrations"}
        if task == "search/query":
            body["documents"] = [documents[0] | {"uid": "b"}]
        ids[task] = client.post(f"/{task}/start", headers=headers, json=body).json["tracking_id"]
        (part,) = services.jobs.list_parts(services.jobs.find(uuid.UUID(ids[task]).hex))
        change_job(services.database, part.id, state="done", finished=1.0)
        parts[task], folder = part.id, services.storage.job(part.id)
        save_result(folder, ["b", "a"] if task == "search/query" else ["a"])
        write_atomic(folder.annotations_json, json.dumps(format_json(PAGES)).encode())
    results = {"/similarity/results/{name}": f"a-a+{parts['similarity']}.json"}
    return {
        "tracking_id": lambda path: next((ids[task] for task in ids if path.startswith(f"/{task}/")), ids["regions"]),
        "name": lambda path: results.get(path, f"illustrations+{parts['regions']}.json"),
        "doc_id": lambda path: "a",
    }


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
