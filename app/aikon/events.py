"""The bodies of the events that fronts receive at ``notify_url``.

============  ==================================================  ===========================================
event         sent when                                           content beside the IDs
============  ==================================================  ===========================================
``STARTED``   the first part of the task starts
``PROGRESS``  a document is done, and others are not              ``output``: the result of this document
``SUCCESS``   the last part ends, and there is a result           ``output``: all results, and what failed
``ERROR``     the last part ends, and there is no result          ``error`` and ``message``: what failed
============  ==================================================  ===========================================

A front raises an error for an ``output`` without results, so an event without results has an empty one.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from app.database.tables import Job
from app.delivery.kinds import Kind
from app.jobs import State
from app.jobs.description import count_failed
from app.jobs.pairs import list_pairs, name_pair
from app.jobs.requests import SimilarityRequest
from app.jobs.rows import build_part_id

# Number of sentences about failures in an event.
MOST_SENTENCES = 100
# Tasks with one result, which all documents share.
SEARCHES = ("indexing", "query")


def build_event(kind: Kind, task: Job, part: Job, ended: Sequence[Job]) -> tuple[Kind, str] | None:
    """Return the event of a task about a change of one of its parts; None for a change that fronts do not hear of.

    Args:
        kind: Kind of the change.
        task: Job of the task.
        part: Changed job.
        ended: All parts of the task, if all have ended; else none.

    Returns:
        The kind of the delivery and its body, as JSON.
    """
    if kind is Kind.STARTED:
        return kind, _format(task, "STARTED")
    if not ended:
        results = list_results(task, part)
        return (Kind.PROGRESS, _format(task, "PROGRESS", output={"results_url": results})) if results else None
    results = [result for each in ended for result in list_results(task, each)]
    failures = [*_explain_failures(task, ended)]
    if not results and any(each.state != State.DONE for each in ended):
        message = "\n".join(failures[:MOST_SENTENCES])
        return Kind.FAILED, _format(task, "ERROR", error=message, message=message, completed=True)
    output = {"results_url": results, **({"error": failures[:MOST_SENTENCES]} if failures else {})} if results else {}
    return Kind.DONE, _format(task, "SUCCESS", output=output, message=summarise(ended))


def format_tracking_id(job_id: str) -> str:
    """Return the ID of a job as fronts store it: a UUID with hyphens."""
    return str(uuid.UUID(job_id))


def list_results(task: Job, part: Job) -> list[dict[str, Any]]:
    """Return the results of a part, as events name them. A part that is not done has none."""
    if part.state != State.DONE:
        return []
    task_name, compared = task.request["task"], _list_compared(part)
    if task_name in SEARCHES:
        url = f"{task.request['api_url']}/search/{task_name}/{format_tracking_id(task.id)}/result"
        return [{"doc_id": format_tracking_id(task.id), "result_url": url}] if compared else []
    if part.kind == SimilarityRequest.kind:
        skipped = {tuple(pair) for pair in task.request["skip_pairs"]}
        pairs = [pair for pair in list_pairs(compared) if pair not in skipped]
        return [{"doc_pair": [*pair], "result_url": _build_url(task, part, name_pair(pair))} for pair in pairs]
    name = part.request["model"].removesuffix(".pt")
    return [{"doc_id": name_documents(task)[part.id], "result_url": _build_url(task, part, name)}]


def name_documents(task: Job) -> Mapping[str, str]:
    """Return the ID of the document of each part, by job ID. The part of a similarity task has no document."""
    return {build_part_id(task.id, document["uid"]): document["uid"] for document in task.request["documents"]}


def describe_progress(task: Job, parts: Sequence[Job]) -> list[str]:
    """Return sentences about the parts of a task for its status: how many are done, which are at work, what failed."""
    names = name_documents(task)
    working = [
        f"{names.get(part.id, 'All documents')}: {part.state}, {part.done} of {part.total}."
        for part in parts
        if part.total and not part.finished
    ]
    return [summarise(parts), *[*working, *_explain_failures(task, parts)][:MOST_SENTENCES]]


def summarise(parts: Sequence[Job]) -> str:
    """Return a sentence about the states of the parts of a task."""
    done = sum(part.state == State.DONE for part in parts)
    return f"{done} of {len(parts)} jobs are done."


def _explain_failures(task: Job, parts: Sequence[Job]) -> Iterator[str]:
    """Yield a sentence for each document that failed, as a whole or in parts."""
    names = name_documents(task)
    for part in parts:
        about = f"{names[part.id]}: " if part.id in names else ""
        if part.state == State.CANCELLED:
            yield f"{about}The job was cancelled."
        elif part.state == State.FAILED:
            yield f"{about}{part.error_message}"
        elif part.kind == SimilarityRequest.kind:
            yield from map(_explain_document, filter(_has_failed, (part.coverage or {}).get("documents", ())))
        elif failed := count_failed(part):
            first = (part.coverage or {})["failed"][0]
            pages = "1 page" if failed == 1 else f"{failed} pages"
            yield f"{about}{pages} could not be processed. Page {first['canvas_number']}: {first['reason']}"


def _list_compared(part: Job) -> list[str]:
    return [each["doc_id"] for each in (part.coverage or {}).get("documents", ()) if each["usable"]]


def _has_failed(document: Mapping[str, Any]) -> bool:
    return bool(document["error"] or document["failed"])


def _explain_document(document: Mapping[str, Any]) -> str:
    if document["error"]:
        return f"{document['doc_id']}: {document['error']}"
    first = document["failed"][0]
    images = "1 image" if len(document["failed"]) == 1 else f"{len(document['failed'])} images"
    return f"{document['doc_id']}: {images} could not be compared. {first['image_name']}: {first['reason']}"


def _build_url(task: Job, part: Job, name: str) -> str:
    """Return the URL of a result. A front takes the beginning of its last part, up to ``+``, as the name of the model.

    Args:
        task: Job of the task.
        part: Job with the result.
        name: Name of the detection weights, or of the pair of documents.
    """
    return f"{task.request['api_url']}/{task.request['task']}/results/{quote(name, safe=',')}+{part.id}.json"


def _format(task: Job, event: str, **content: Any) -> str:
    ids = {"tracking_id": format_tracking_id(task.id), "experiment_id": task.request["experiment_id"]}
    return json.dumps({"event": event, **ids, **content}, ensure_ascii=False)
