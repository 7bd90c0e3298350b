"""The routes. A new one is added here in a few lines, its records in ``schemas``."""

from typing import Any

from app.jobs import State
from app.openapi.responses import answers
from app.openapi.schemas import ADDRESS, COMPARISON_OPTIONS, DOC_IDS, DOCUMENTS, OPTIONS, TEXT, Schema, refer
from app.openapi.training import TEST_OPTIONS, TRAINING_OPTIONS
from app.routes.jobs import MOST_JOBS
from app.training.datasets import SPLITS

KEYED = (400, 403, 429, 503)
OPEN = (400, 429)

_JOB_ID = {"name": "job_id", "in": "path", "required": True, "schema": TEXT}
_WEIGHTS = {"name": "name", "in": "path", "required": True, "schema": TEXT | {"description": "With or without .pt."}}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": refer(name)}


def _content(name: str) -> dict[str, Any]:
    return {kind: {"schema": schema} for kind, schema in _json(name).items()}


def _option(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


def _form(*kinds: str, options: Schema = OPTIONS, **required: Any) -> dict[str, Any]:
    """Return a form with some fields that must be there and those that may be: of every detection, as a rule."""
    schema = {"type": "object", "required": list(required), "properties": required | options}
    return {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}


def _submit(summary: str) -> dict[str, Any]:
    return _order(summary, OPTIONS | {"manifest_url": ADDRESS}, "manifest_url")


def _compare(summary: str, documents: Schema, options: Schema, answer: str) -> dict[str, Any]:
    """Return a route that takes documents, as JSON or, as a JSON text, in a form."""
    as_text = TEXT | {"contentMediaType": "application/json", "contentSchema": documents}
    forms = ("multipart/form-data", "application/x-www-form-urlencoded")
    kinds = {"application/json": documents, **dict.fromkeys(forms, as_text)}
    content = {
        kind: {"schema": {"type": "object", "required": ["documents"], "properties": {"documents": each} | options}}
        for kind, each in kinds.items()
    }
    responses = answers(_json(answer), *KEYED, 413)
    return {"post": {"summary": summary, "requestBody": {"required": True, "content": content}, "responses": responses}}


def _order(summary: str, options: Schema, *required: str) -> dict[str, Any]:
    """Return a route that takes a form and makes a job of it."""
    fields = {name: options[name] for name in required}
    form = _form("multipart/form-data", "application/x-www-form-urlencoded", options=options, **fields)
    return {"post": {"summary": summary, "requestBody": form, "responses": answers(_json("Queued"), *KEYED, 413)}}


def _upload(summary: str, *files: str, required: list[str]) -> dict[str, Any]:
    """Return a route that takes pages for training or testing."""
    parts = {file: {"type": "string", "format": "binary"} for file in (*files, "yaml_file")}
    fields = {"action": {"enum": list(SPLITS)}, "name": TEXT | {"description": "In place of that of yaml_file."}}
    schema = {"type": "object", "required": [*parts, *required], "properties": parts | fields}
    form = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return {
        "post": {"summary": summary, "requestBody": form, "responses": answers(_json("DatasetDone"), *KEYED, 413, 507)}
    }


def _act(summary: str, of: dict[str, Any] = _JOB_ID, answer: str = "Done") -> dict[str, Any]:
    """Return a route that does something with a job, or another thing that its address names."""
    responses = answers(_json(answer), *KEYED, 404)
    return {"post": {"summary": summary, "parameters": [of], "responses": responses}}


def _show(summary: str, *parameters: Any, responses: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": responses}}


def _show_openly(summary: str, name: str) -> dict[str, Any]:
    """Return a route that needs no key."""
    return {"get": {"summary": summary, "security": [], "responses": answers(_json(name), *OPEN)}}


def _probe(summary: str, well: str, unwell: str) -> dict[str, Any]:
    """Return a route for a load balancer or a watchdog, who read the status."""
    responses = answers(_json(well)) | {"503": {"description": "It does not.", "content": _content(unwell)}}
    return {"get": {"summary": summary, "security": [], "responses": responses}}


PATHS: dict[str, Any] = {
    "/run_detect": _submit("Find the illustrations of one manifest, or of each manifest of a collection."),
    "/delete_detect": _submit("The same, with every image fetched anew."),
    "/detect_all": {
        "post": {
            "summary": "Find the illustrations of the manifests in a text file, one address a line.",
            "requestBody": _form("multipart/form-data", url_file={"type": "string", "format": "binary"}),
            "responses": answers(_json("QueuedList"), *KEYED, 413),
        }
    },
    "/run_similarity": _compare(
        "Compare the images of every two documents, and of each with itself.",
        DOCUMENTS,
        COMPARISON_OPTIONS,
        "Queued",
    ),
    "/delete_similarity": _compare(
        "Forget images, embeddings and scores of documents of yours.", DOC_IDS, {}, "Forgotten"
    ),
    "/jobs": _show(
        "Your jobs, newest first.",
        _option("state", {"enum": [state.value for state in State]}),
        _option("limit", {"type": "integer", "minimum": 1, "maximum": MOST_JOBS, "default": 50}),
        responses=answers(_json("Jobs"), *KEYED),
    ),
    "/jobs/{job_id}": _show(
        "How far a job is, and what came of it.", _JOB_ID, responses=answers(_json("Job"), *KEYED, 404)
    ),
    "/jobs/{job_id}/annotations": _show(
        "The annotation file; as JSON, every box with confidence, class and canvas, in pixels of the full-size image.",
        _JOB_ID,
        _option("format", {"enum": ["text", "json"], "default": "text"}),
        responses=answers({"text/plain": TEXT} | _json("Annotations"), *KEYED, 404),
    ),
    "/jobs/{job_id}/scores/{pair}": _show(
        "The scores of two documents of a similarity job, by their ids in either order: <id>-<id>.",
        _JOB_ID,
        {"name": "pair", "in": "path", "required": True, "schema": TEXT},
        _option("format", {"enum": ["npy", "json"], "default": "npy"}),
        responses=answers(
            {"application/octet-stream": {"type": "string", "format": "binary"}} | _json("Scores"), *KEYED, 404
        ),
    ),
    "/jobs/{job_id}/cancel": _act("Stop a job; of a collection, the jobs of its manifests."),
    "/jobs/{job_id}/retry": _act(
        "Fetch and look at what failed, and only that, and send the completed file; of a collection, its jobs."
    ),
    "/jobs/{job_id}/redeliver": _act("Send the result again."),
    "/send-data": _upload(
        "Pages for a purpose: a zip file of images and one of their labels.", "img_zip", "anno_zip", required=["action"]
    ),
    "/send-dataset": _upload("A whole data set: folders images and labels in a zip file.", "dataset_zip", required=[]),
    "/datasets": _show("Your data sets, by name.", responses=answers(_json("Datasets"), *KEYED)),
    "/datasets/{name}": {
        "delete": {
            "summary": "Remove a data set.",
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": TEXT}],
            "responses": answers(_json("DatasetDone"), *KEYED, 404),
        }
    },
    "/train-model": _order(
        "Train weights on a data set of yours, which become weights of this server.", TRAINING_OPTIONS, "data", "epochs"
    ),
    "/test-model": _order("Hold what weights find against the labels of a data set.", TEST_OPTIONS, "dataset"),
    "/jobs/{job_id}/files": _show(
        "What came of a training or a test: figures, curves, pictures, weights.",
        _JOB_ID,
        responses=answers(_json("Files"), *KEYED, 404),
    ),
    "/jobs/{job_id}/files/{path}": _show(
        "One of these files.",
        _JOB_ID,
        {"name": "path", "in": "path", "required": True, "schema": TEXT},
        responses=answers({"*/*": {"type": "string", "format": "binary"}}, *KEYED, 404),
    ),
    "/models": _show_openly("The detection weights of this server, with the time of their change.", "Models"),
    "/models/{name}": {
        "get": {
            "summary": "What one of them is: architecture, classes, input size, hash, card.",
            "security": [],
            "parameters": [_WEIGHTS],
            "responses": answers(_json("Model"), *OPEN, 404),
        }
    },
    "/models/default": _show_openly("Which one is used when a request names none, and which was before.", "Default"),
    "/models/{name}/default": _act("Use it when a request names none, from now on.", _WEIGHTS, "NewDefault"),
    "/healthz": _probe("Whether the database answers, and the broker takes what is sent.", "Health", "NotHealthy"),
    "/readyz": _probe("Whether something came through every queue lately.", "Ready", "NotReady"),
    "/metrics": {
        "get": {
            "summary": "What Prometheus scrapes; with METRICS_TOKEN, for those who know it.",
            "security": [],
            "responses": answers({"text/plain": TEXT}, 403),
        }
    },
    "/openapi.json": _show_openly("This document.", "Document"),
}
