"""``/jobs``: list, show, cancel, retry and redeliver jobs. A client app can access only its own jobs."""

import json
import re
import time
from collections.abc import Iterable
from typing import Annotated, Any

from flask import Blueprint, Response, g, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from app.database.tables import Delivery, Job
from app.errors import NotFound, RequestError
from app.jobs import State
from app.jobs.description import count_failed, describe, describe_delivery, describe_part
from app.jobs.job_kinds import JobKind, find_kind
from app.jobs.requests.fields import FROM_TEXT
from app.jobs.states import DELIVER
from app.routes.answers import Done, Jobs
from app.routes.answers import Job as JobAnswer
from app.routes.operations import answers, takes_query
from app.services import current_services

routes = Blueprint("jobs", __name__)

MOST_JOBS = 1000
# Milliseconds until a client of server-sent events connects again.
RETRY_MS = 2000
# Schema of an event.
EVENT = {
    "type": "object",
    "properties": {
        "event": {"const": "job"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}


@dataclass(frozen=True)
class JobsQuery:
    """The query of ``GET /jobs``."""

    state: Annotated[State | None, Field(description="List only jobs in this state.")] = None
    limit: Annotated[
        int, Strict(), Field(ge=1, le=MOST_JOBS, description="The largest number of jobs to list."), FROM_TEXT
    ] = 50


@routes.get("/jobs")
@takes_query(JobsQuery)
@answers(Jobs)
def index(query: JobsQuery) -> ResponseReturnValue:
    """List your jobs, newest first."""
    store = current_services.jobs
    jobs = store.list_recent(g.client.id, query.state, query.limit)
    # A similarity job may have thousands of deliveries. Here they are only counted; GET /jobs/<id> lists them.
    counted = [job for job in jobs if find_kind(job.kind).many_deliveries]
    counts = store.count_deliveries(counted)
    deliveries = store.deliveries([job for job in jobs if job not in counted])
    return jsonify(
        jobs=[
            describe(job) | {"deliveries_by_status": counts[job.id]}
            if job.id in counts
            else _describe(job, deliveries[job.id])
            for job in jobs
        ]
    )


@routes.get("/jobs/<job_id>")
@answers(JobAnswer)
def show(job_id: str) -> ResponseReturnValue:
    """Show a job: state, progress, coverage and deliveries."""
    job = find_job(job_id)
    described = _describe(job, current_services.jobs.deliveries([job])[job_id])
    if find_kind(job.kind).has_parts:
        described["jobs"] = [describe_part(part) for part in current_services.jobs.list_parts(job)]
    return jsonify(described)


@routes.get("/jobs/<job_id>/events")
@answers(None, others={"text/event-stream": EVENT})
def follow(job_id: str) -> ResponseReturnValue:
    """Return the state of a job as a server-sent event named `job`, with the JSON of GET /jobs/{job_id}.

    The stream ends after the event, and clients of server-sent events connect again after two seconds. An open
    connection therefore holds no thread of the server.
    """
    return format_events([show(job_id).get_json()])


@routes.post("/jobs/<job_id>/cancel")
@answers(Done)
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a job.

    On a collection, this cancels the unfinished jobs of its manifests; on a task of a front, its unfinished jobs.
    """
    job = find_job(job_id)
    cancelled = current_services.jobs.cancel(job)
    if not cancelled:
        raise RequestError(f"Job {job_id} is {find_job(job_id).state} already: there is nothing to cancel.")
    which = "The job is"
    if find_kind(job.kind).has_parts:
        which = "1 job is" if cancelled == 1 else f"{cancelled} jobs are"
    return jsonify(Done(message=f"{which} cancelled.", job_id=job_id))


@routes.post("/jobs/<job_id>/retry")
@answers(Done)
def retry(job_id: str) -> ResponseReturnValue:
    """Retry the failed parts of a finished job.

    On a job in state done, this repeats only the canvases or images that failed, and sends the completed result.
    A job that failed or was cancelled continues where it stopped. On a collection or a task of a front, this retries
    the jobs that failed, were cancelled, or have failed parts.
    """
    job = find_job(job_id)
    if not job.finished:
        raise RequestError(f"Job {job_id} is {job.state}: only a finished job can be tried again.")
    if find_kind(job.kind).has_parts:
        return _retry_parts(job)
    part, failed = find_kind(job.kind).part, count_failed(job)
    if job.state == State.DONE and part is None:
        raise RequestError(f"Job {job_id} is a {job.kind} that is done: there is nothing to try again.")
    if job.state == State.DONE and part and not failed:
        raise RequestError(f"Job {job_id} has no {part.singular} that failed: there is nothing to try again.")
    if not current_services.jobs.retry(job):
        raise RequestError(f"Job {job_id} is being tried again already.")
    which = part.describe_failed(failed) if part and failed else "The job is"
    return jsonify(Done(message=f"{which} tried again.", job_id=job_id))


def _retry_parts(job: Job) -> ResponseReturnValue:
    again = current_services.jobs.retry_parts(job)
    if not again:
        raise RequestError(f"Job {job.id} has no part that failed or was cancelled: there is nothing to try again.")
    which = "1 part of the job is" if again == 1 else f"{again} parts of the job are"
    return jsonify(Done(message=f"{which} tried again.", job_id=job.id))


@routes.post("/jobs/<job_id>/redeliver")
@answers(Done)
def redeliver(job_id: str) -> ResponseReturnValue:
    """Send the result and the final event of a finished job again.

    A URL that was disabled because it answered 410 is enabled again.
    """
    job = find_job(job_id)
    if not job.finished:
        raise RequestError(f"Job {job_id} is {job.state}: only the result of a finished job can be sent again.")
    if not current_services.outbox.redeliver(job_id):
        raise RequestError(f"Job {job_id} has nothing to send: {_explain_missing_delivery(job)}.")
    current_services.queue.wake(DELIVER)
    return jsonify(Done(message="The result will be sent again.", job_id=job_id))


def format_events(found: Iterable[dict[str, Any]]) -> Response:
    """Return events named ``job``, and the time after which a client connects again.

    The client then sends the ID of the answer, which is its time, as ``Last-Event-ID``.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    events = [f"event: job\ndata: {json.dumps(each)}\n\n" for each in found]
    content = f"retry: {RETRY_MS}\nid: {time.time():.0f}\n\n{''.join(events)}"
    return Response(content, mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


def find_job(job_id: str) -> Job:
    """Return a job of the client app of the current request.

    Raises:
        NotFound: The client app has no job with this ID.
    """
    if not re.fullmatch("[0-9a-f]{32}", job_id):  # PostgreSQL rejects text with NUL
        raise NotFound(f"There is no job {job_id[:40]!r} of yours.")
    return current_services.jobs.find(job_id, g.client.id)


def find_job_of_kind(job_id: str, kind: JobKind, result: str) -> Job:
    """Return a job of a kind of the client app of the current request.

    Args:
        job_id: ID of the job.
        kind: Kind of the job.
        result: Result of such jobs, for the error message, such as "pages".

    Raises:
        NotFound: The client app has no job with this ID, or it is of another kind.
    """
    job = find_job(job_id)
    if job.kind != kind.name:
        raise NotFound(f"Job {job_id} is a {job.kind}: it has no {result}.")
    return job


def _describe(job: Job, deliveries: list[Delivery]) -> dict[str, Any]:
    return describe(job) | {"deliveries": [describe_delivery(delivery) for delivery in deliveries]}


def _explain_missing_delivery(job: Job) -> str:
    folder = current_services.storage.job(job.id)
    if folder.annotations.exists() or any(folder.path.glob("scores/*")):
        return "its request had neither a callback nor a notify_url, and CLIENT_APP_URL is not set"
    return "it has no result, and its request had no notify_url"
