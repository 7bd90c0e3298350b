"""The routes that AIKON fronts use. The task of a front has the name of its module there.

``region_extraction`` is another name of the task ``regions``: some fronts use both for the same task.
"""

import re
import uuid
from typing import Annotated
from urllib.parse import urlsplit

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from pydantic.dataclasses import dataclass

from app.aikon.answers import (
    Cancelled,
    Deleted,
    EndStatus,
    FrontModels,
    FrontProgress,
    Log,
    RunStatus,
    Started,
    TaskStatus,
)
from app.aikon.events import describe_progress, format_tracking_id, name_documents
from app.aikon.job_requests import build_indexing, build_query, build_regions, build_similarity
from app.aikon.models import list_backbones, list_detection_models
from app.aikon.start_request import StartRequest
from app.database.tables import Job
from app.errors import AddressRefused, ExtractorError, NotFound, RequestError
from app.jobs import State
from app.jobs.requests import AikonTask, SimilarityRequest
from app.jobs.requests.fields import Label, explain_name
from app.jobs.requests.reading import show
from app.net.addresses import AddressGuard
from app.routes.operations import FORMS, JSON, answers, takes_body, takes_query
from app.routes.submissions import find_weights
from app.services import current_services

routes = Blueprint("aikon", __name__)

TASK = "<any(regions,region_extraction,similarity):task>"
SEARCH = "search/<any(indexing,query):task>"
# Tasks whose jobs are similarity jobs.
BY_SIMILARITY = (SimilarityRequest.kind, "indexing", "query")
# Status of a task whose parts have all ended, by the best state of a part.
ENDS: dict[str, EndStatus] = {State.DONE: "SUCCESS", State.FAILED: "ERROR", State.CANCELLED: "CANCELLED"}


@dataclass(frozen=True)
class DeleteQuery:
    """The query of ``POST /<task>/<doc_id>/delete``."""

    model_name: Annotated[
        Label, Field(description="Delete only regions that these weights detected. Default: all.")
    ] = ""


@routes.errorhandler(ExtractorError)
def answer_error(error: ExtractorError) -> ResponseReturnValue:
    """Answer an error in the forms that fronts read: some read ``error``, others ``message``."""
    body = {"error": error.message, "message": error.message, "code": error.code}
    return jsonify(body), error.status, dict(error.headers)


@routes.post(f"/{TASK}/start")
@takes_body(StartRequest, [JSON, *FORMS])
@answers(Started)
def start(body: StartRequest, task: str) -> ResponseReturnValue:
    """Start a task of an AIKON front: detect regions in documents, compare documents, index them, or search."""
    api_url = request.root_url.rstrip("/")
    _check_notify_url(body.notify_url)
    if task == SimilarityRequest.kind:
        started = build_similarity(body, api_url)
    elif task == "indexing":
        started = build_indexing(body, api_url)
    elif task == "query":
        started = build_query(body, _find_index(body.index_id), api_url)
    else:
        started = build_regions(body, find_weights(body.model).name, api_url)
    job = current_services.jobs.submit_parts(g.client.id, started.task, started.jobs)
    return jsonify(Started(tracking_id=format_tracking_id(job.id), experiment_id=started.task.experiment_id))


@routes.get(f"/{TASK}/models")
@answers(FrontModels)
def models(task: str) -> ResponseReturnValue:
    """List the models of a task that work on this server."""
    if task in BY_SIMILARITY:
        return jsonify(list_backbones(current_services.settings.backbones_folder))
    return jsonify(list_detection_models(current_services.models, current_services.weights_descriptions))


@routes.get(f"/{TASK}/<tracking_id>/status")
@answers(TaskStatus)
def status(task: str, tracking_id: str) -> ResponseReturnValue:
    """Show the status of a task."""
    job = find_task(tracking_id)
    parts = current_services.jobs.list_parts(job)
    states, done = {part.state for part in parts}, sum(part.finished is not None for part in parts)
    if done < len(parts):
        status: EndStatus | RunStatus = "PENDING" if states == {State.QUEUED} else "PROGRESS"
    else:
        status = next((name for state, name in ENDS.items() if state in states), "SUCCESS")
    log = Log(status=status, infos=describe_progress(job, parts), progress=FrontProgress(done=done, total=len(parts)))
    return jsonify(TaskStatus(tracking_id=format_tracking_id(job.id), log=log))


@routes.post(f"/{TASK}/<tracking_id>/cancel")
@answers(Cancelled)
def cancel(task: str, tracking_id: str) -> ResponseReturnValue:
    """Cancel a task. The front receives no more events of it."""
    return cancel_any(tracking_id)


@routes.post("/<tracking_id>/cancel")
@answers(Cancelled)
def cancel_any(tracking_id: str) -> ResponseReturnValue:
    """Cancel a task. The front receives no more events of it."""
    job = find_task(tracking_id)
    current_services.jobs.cancel(job, notify=False)
    return jsonify(Cancelled(tracking_id=format_tracking_id(job.id)))


@routes.post(f"/{TASK}/<doc_id>/delete")
@takes_query(DeleteQuery)
@answers(Deleted)
def delete(query: DeleteQuery, task: str, doc_id: str) -> ResponseReturnValue:
    """Delete the results of a document. Results of unfinished jobs are kept."""
    if fault := explain_name(doc_id):
        raise RequestError(f"The ID of the document {fault}.")
    if task == SimilarityRequest.kind:
        found = current_services.documents.forget(g.client.id, [doc_id])
        count, is_in_use = len(found.forgotten), bool(found.in_use)
    else:
        count, is_in_use = _delete_regions(doc_id, query.model_name.removesuffix(".pt"))
    message = f"The results of {doc_id} are deleted." if count else f"There are no results of {doc_id} to delete."
    if is_in_use:
        message += " Unfinished jobs need the document: cancel their tasks, or wait until they are done."
    return jsonify(Deleted(cleared_document=count, message=message))


# The same routes for searches, whose tasks have a longer path.
for rule, view in (("start", start), ("<tracking_id>/cancel", cancel)):
    routes.post(f"/{SEARCH}/{rule}", endpoint=f"{view.__name__}_search")(view)
for rule, view in (("models", models), ("<tracking_id>/status", status)):
    routes.get(f"/{SEARCH}/{rule}", endpoint=f"{view.__name__}_search")(view)


def find_task(tracking_id: str) -> Job:
    """Return the job of a task of the client app of the current request.

    Raises:
        NotFound: The client app has no such task.
    """
    job = current_services.jobs.find(_read_id(tracking_id), g.client.id)
    if job.kind != AikonTask.kind:
        raise NotFound(f"Job {job.id} is a {job.kind}, not a task of a front.")
    return job


def _read_id(tracking_id: str) -> str:
    """Return the ID of the job of a task. Fronts send it with hyphens or without."""
    text = tracking_id.replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise NotFound(f"There is no task {show(tracking_id)}: send the tracking_id of its start.")
    return uuid.UUID(text).hex


def _check_notify_url(url: str) -> None:
    """Check that events may be sent to a URL. The dispatcher checks it again for each attempt.

    Raises:
        RequestError: The host has a private address that no setting trusts.
    """
    parts = urlsplit(url)
    guard = AddressGuard(current_services.settings.trusted_addresses)
    try:
        if parts.hostname:
            guard.resolve(parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80))
    except AddressRefused as error:
        raise RequestError(f"notify_url: {error.message}") from error
    except (OSError, UnicodeError):  # the name cannot be resolved now; the events report it
        return


def _find_index(index_id: str) -> AikonTask:
    """Return the task of an index of the client app of the current request.

    Raises:
        RequestError: The client app has no such index.
    """
    if not index_id:
        raise RequestError("index_id is missing: send the tracking_id of an indexing task.")
    task = AikonTask.from_json(find_task(index_id).request)
    if task.task != "indexing":
        raise RequestError(f"index_id: {index_id} is a {task.task} task: send the tracking_id of an indexing task.")
    return task


def _delete_regions(doc_id: str, model: str) -> tuple[int, bool]:
    """Delete the finished detection jobs of a document, with their files.

    Returns:
        Their number, and whether the document has unfinished jobs.
    """
    jobs, count, is_in_use = current_services.jobs, 0, False
    for task in jobs.list_of_kind(g.client.id, AikonTask.kind):
        wanted = {part_id for part_id, uid in name_documents(task).items() if uid == doc_id}
        for part in jobs.list_parts(task) if wanted and task.request["task"] == "regions" else ():
            is_same_model = model in ("", part.request["model"].removesuffix(".pt"))
            if part.id in wanted and not part.finished:
                is_in_use = True
            elif part.id in wanted and is_same_model:
                count += jobs.remove(part.id, current_services.storage.discard_job)
    current_services.storage.delete_discarded()
    return count, is_in_use
