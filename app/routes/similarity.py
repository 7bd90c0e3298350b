"""Compare the images of documents: ``/run_similarity``, ``/delete_similarity``, ``/jobs/<id>/scores/<a>-<b>``."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, g, jsonify, request, url_for
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.errors import NotFound, RequestError
from app.jobs import SimilarityRequest
from app.jobs.documents import Documents
from app.jobs.pairs import Pair, find_pairs
from app.jobs.requests.names import show_name
from app.jobs.requests.similarity import check_doc_ids
from app.jobs.requests.strict_json import JsonObject, parse_json
from app.jobs.results import ComparisonResult, PairResult
from app.routes.jobs import advise, find_job
from app.services import current_services
from app.similarity.scores import format_scores, format_scores_json

routes = Blueprint("similarity", __name__)


@routes.post("/run_similarity")
def run_similarity() -> ResponseReturnValue:
    wanted = SimilarityRequest.from_fields(_read_fields())
    _documents().check(g.client.id, wanted)
    (job,) = current_services.jobs.submit(g.client.id, [wanted])
    count = len(wanted.documents)
    message = (
        "The document is queued for comparison." if count == 1 else f"{count} documents are queued for comparison."
    )
    status_url = url_for("jobs.show", job_id=job.id, _external=True)
    return jsonify(message=message, job_id=job.id, status_url=status_url)


@routes.post("/delete_similarity")
def delete_similarity() -> ResponseReturnValue:
    found = _documents().forget(g.client.id, check_doc_ids(_read_fields().get("documents")))
    count = len(found.forgotten)
    message = "1 document is forgotten." if count == 1 else f"{count} documents are forgotten."
    if found.in_use:
        message += " Others are being compared: cancel their jobs, or wait till they are done."
    return jsonify(message=message, forgotten=found.forgotten, in_use=found.in_use, unknown=found.unknown)


@routes.get("/jobs/<job_id>/scores/<pair>")
def scores(job_id: str, pair: str) -> ResponseReturnValue:
    job = find_job(job_id)
    form = request.args.get("format", "npy")
    if form not in ("npy", "json"):
        raise RequestError("format must be npy or json.")
    found = _find_result(job, _find_pair(job, pair))
    if form == "npy":
        return Response(format_scores(found.scores, found.a, found.b), mimetype="application/octet-stream")
    records = format_scores_json(found.scores, found.a, found.b, job.request["transpositions"])
    head = {"job_id": job.id, "documents": [found.a.doc_id, found.b.doc_id], "model": job.request["model"]}
    return jsonify(head | {"pairs": list(records)})


def _find_pair(job: Job, name: str) -> Pair:
    """Return the pair that a name means, in either order of its documents."""
    if job.kind != SimilarityRequest.kind:
        raise NotFound(f"Job {job.id} is a {job.kind}: it has no scores.")
    pairs = find_pairs(name, job.request["documents"])
    if not pairs:
        raise NotFound(f"Job {job.id} has no pair of documents {show_name(name)}: name it as <id>-<id>.")
    if len(pairs) > 1:
        raise NotFound(f"Job {job.id} has several pairs {show_name(name)}: name the one with the ids in order.")
    return pairs[0]


def _find_result(job: Job, pair: Pair) -> PairResult:
    folder = current_services.storage.job(job.id)
    found = ComparisonResult(folder, job.request["documents"]).load_pair(pair)
    if found is None:
        shown = f"Job {job.id} is {job.state}: it has no scores of {show_name(pair[0])} and {show_name(pair[1])}"
        raise (NotFound if job.finished else RequestError)(shown + advise(job))
    return found


def _read_fields() -> Mapping[str, Any]:
    """Return the fields of a form, or those of a JSON object."""
    if request.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return request.form
    try:
        fields = parse_json(request.get_data())
    except ValueError as error:
        raise RequestError("The body is not JSON: send an object with the field documents.") from error
    if not isinstance(fields, JsonObject):
        raise RequestError("The body is JSON but not an object: send one with the field documents.")
    if fields.repeated:
        raise RequestError(f"The body has the field {show_name(fields.repeated[0])} twice.")
    return fields


def _documents() -> Documents:
    return current_services.documents
