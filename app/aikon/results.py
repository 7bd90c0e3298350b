"""The routes of results, which fronts fetch from the ``result_url`` of events."""

import re

from flask import g, jsonify
from flask.typing import ResponseReturnValue

from app.aikon.answers import FrontIndex, FrontMatches, FrontScores, Page
from app.aikon.events import format_tracking_id, name_documents
from app.aikon.regions import format_regions
from app.aikon.routes import find_task, routes
from app.aikon.scores import format_scores
from app.aikon.search import SearchResult
from app.database.tables import Job
from app.errors import NotFound
from app.exports.annotation_files import parse_pages
from app.jobs import State
from app.jobs.pairs import ComparisonResult, find_pairs
from app.jobs.requests import AikonTask, DetectionRequest, SimilarityRequest
from app.jobs.requests.reading import show
from app.routes.operations import answers
from app.services import current_services


@routes.get("/<any(regions,region_extraction):task>/results/<name>")
@answers(list[Page])
def regions(task: str, name: str) -> ResponseReturnValue:
    """Return the regions of a document, as the events of its task name them."""
    part, whole, _ = _find_part(name, DetectionRequest.kind)
    path = current_services.storage.job(part.id).annotations_json
    if not path.exists():
        raise NotFound(f"The regions {show(name)} are not on this server: the job is {part.state}.")
    pages = parse_pages(path.read_bytes())
    return jsonify(format_regions(pages, name_documents(whole)[part.id], whole.request["parameters"]))


@routes.get("/similarity/results/<name>")
@answers(FrontScores)
def scores(name: str) -> ResponseReturnValue:
    """Return the scores of a pair of documents, as the events of its task name them."""
    part, whole, pair_name = _find_part(name, SimilarityRequest.kind)
    documents = part.request["documents"]
    result = ComparisonResult(current_services.storage.job(part.id), documents)
    for pair in find_pairs(pair_name, documents)[:1]:
        if found := result.load_pair(pair):
            verified = result.load_verified(pair)
            pairs = verified.pairs if verified else ()
            return jsonify(format_scores(found, pairs, whole.request, part.request["transpositions"]))
    raise NotFound(f"The scores {show(name)} are not on this server: the job is {part.state}.")


@routes.get("/search/indexing/<tracking_id>/result")
@answers(FrontIndex)
def index(tracking_id: str) -> ResponseReturnValue:
    """Return the documents and the images of an index."""
    task, result = _find_search(tracking_id, "indexing")
    return jsonify(result.format_index(format_tracking_id(task.id), task.request["parameters"]["feat_net"]))


@routes.get("/search/query/<tracking_id>/result")
@answers(FrontMatches)
def matches(tracking_id: str) -> ResponseReturnValue:
    """Return the best matches of the images of a query, in the documents of its index."""
    _, result = _find_search(tracking_id, "query")
    return jsonify(result.format_matches())


def _find_part(name: str, kind: str) -> tuple[Job, Job, str]:
    """Return the job of a result, the job of its task, and the name without the ID of the job.

    Raises:
        NotFound: The client app has no such result.
    """
    found = re.fullmatch(r"(.+)\+([0-9a-f]{32})\.json", name)
    missing = NotFound(f"There is no result {show(name)}: fetch the result_url of an event.")
    if found is None:
        raise missing
    jobs = current_services.jobs
    part = jobs.find(found[2], g.client.id)
    if part.kind != kind or not jobs.is_part_of(part, AikonTask.kind):
        raise missing
    return part, jobs.find(part.parent_id or "", g.client.id), found[1]


def _find_search(tracking_id: str, task_name: str) -> tuple[Job, SearchResult]:
    """Return the job of an index or a query, and its result.

    Raises:
        NotFound: The client app has no such task, or it is not done.
    """
    task = find_task(tracking_id)
    parts = current_services.jobs.list_parts(task)
    if task.request["task"] != task_name or not parts or parts[0].state != State.DONE:
        raise NotFound(f"There is no result of the {task_name} {show(tracking_id)}: wait for its event SUCCESS.")
    folder, request = current_services.storage.job(parts[0].id), parts[0].request
    result = ComparisonResult(folder, request["documents"])
    return task, SearchResult(result, task.request, request["transpositions"])
