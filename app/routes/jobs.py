"""``/jobs``: how far a job is, what came of it; cancel, try again, send again. A client app sees its own jobs."""

import re
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue

from app.database.tables import Delivery, Job
from app.errors import NotFound, RequestError
from app.jobs import EvaluationRequest, Jobs, SimilarityRequest, State, TrainingRequest
from app.jobs.description import count_failed, describe, describe_delivery, describe_part
from app.jobs.states import DELIVER
from app.services import current_services

routes = Blueprint("jobs", __name__)

MOST_JOBS = 1000


@routes.get("/jobs")
def index() -> ResponseReturnValue:
    state, limit = request.args.get("state"), request.args.get("limit", "50")
    if state is not None and state not in list(State):
        raise RequestError(f"state is not one of {', '.join(State)}.")
    if not (re.fullmatch(r"[0-9]{1,4}", limit) and 1 <= int(limit) <= MOST_JOBS):
        raise RequestError(f"limit must be a whole number from 1 to {MOST_JOBS}.")
    jobs = _store().list_recent(g.client.id, State(state) if state else None, int(limit))
    # A similarity job has a thousand deliveries: here they are counted, and shown with the job itself.
    compared = [job for job in jobs if job.kind == SimilarityRequest.kind]
    counts = _store().count_deliveries(compared)
    deliveries = _store().deliveries([job for job in jobs if job not in compared])
    return jsonify(
        jobs=[
            describe(job) | {"deliveries_by_status": counts[job.id]}
            if job.id in counts
            else _describe(job, deliveries[job.id])
            for job in jobs
        ]
    )


@routes.get("/jobs/<job_id>")
def show(job_id: str) -> ResponseReturnValue:
    job = find_job(job_id)
    described = _describe(job, _store().deliveries([job])[job_id])
    if job.kind == "collection":
        described["jobs"] = [describe_part(part) for part in _store().list_parts(job)]
    return jsonify(described)


@routes.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a job; of a collection, the jobs of its manifests."""
    job = find_job(job_id)
    cancelled = _store().cancel(job)
    if not cancelled:
        raise RequestError(f"Job {job_id} is {find_job(job_id).state} already: there is nothing to cancel.")
    message = "The job is cancelled." if job.kind != "collection" else f"{cancelled} jobs are cancelled."
    return jsonify(message=message, job_id=job_id)


@routes.post("/jobs/<job_id>/retry")
def retry(job_id: str) -> ResponseReturnValue:
    """Fetch and look at what failed, and deliver the completed file; of a collection, the jobs of its manifests."""
    job = find_job(job_id)
    failed, thing = count_failed(job), "image" if job.kind == SimilarityRequest.kind else "canvas"
    if not job.finished:
        raise RequestError(f"Job {job_id} is {job.state}: only a job that is finished can be tried again.")
    if job.kind == "collection":
        return _retry_parts(job)
    if job.state == State.DONE and job.kind in (TrainingRequest.kind, EvaluationRequest.kind):
        raise RequestError(f"Job {job_id} is a {job.kind} that is done: there is nothing to try again.")
    if job.state == State.DONE and not failed:
        raise RequestError(f"Job {job_id} has no {thing} that failed: there is nothing to try again.")
    if not _store().retry(job):
        raise RequestError(f"Job {job_id} is being tried again already.")
    things = {"image": "images", "canvas": "canvases"}[thing]
    which = f"The {thing} that failed is" if failed == 1 else f"The {failed} {things} that failed are"
    return jsonify(message=f"{which if failed else 'The job is'} tried again.", job_id=job_id)


def _retry_parts(job: Job) -> ResponseReturnValue:
    again = _store().retry_parts(job)
    if not again:
        raise RequestError(f"Job {job.id} has no manifest that failed or was cancelled: there is nothing to try again.")
    which = "1 job of the collection is" if again == 1 else f"{again} jobs of the collection are"
    return jsonify(message=f"{which} tried again.", job_id=job.id)


@routes.post("/jobs/<job_id>/redeliver")
def redeliver(job_id: str) -> ResponseReturnValue:
    """Send the result again, or word of the end of a job that has none; an address that was closed is open again."""
    job = find_job(job_id)
    if not job.finished:
        raise RequestError(f"Job {job_id} is {job.state}: only what a finished job has to tell can be sent again.")
    if not current_services.outbox.renew(job_id):
        raise RequestError(f"Job {job_id} has nothing to send: {_explain_silence(job)}.")
    current_services.queue.wake(DELIVER)
    return jsonify(message="It will be sent again.", job_id=job_id)


@routes.get("/jobs/<job_id>/annotations")
def annotations(job_id: str) -> ResponseReturnValue:
    job = find_job(job_id)
    form = request.args.get("format", "text")
    if form not in ("text", "json"):
        raise RequestError("format must be text or json.")
    folder = current_services.storage.job(job.id)
    path = folder.annotations if form == "text" else folder.annotations_json
    if not path.exists():
        raise RequestError(f"Job {job_id} is {job.state}: it has no annotations" + advise(job))
    if form == "text":
        return Response(path.read_bytes(), mimetype="text/plain")
    head = {"job_id": job.id, "manifest_url": job.request["manifest_url"], "model": job.model_label}
    canvases = current_app.json.loads(path.read_bytes())
    return jsonify(head | {"canvases": canvases})


def _explain_silence(job: Job) -> str:
    folder = current_services.storage.job(job.id)
    if folder.annotations.exists() or any(folder.path.glob("scores/*")):
        return "neither a callback nor CLIENT_APP_URL was set, and no notify_url"
    return "it has no result, and its request had no notify_url"


def advise(job: Job) -> str:
    """Return how a sentence ends that says that a job has not something."""
    return "." if job.finished else " yet; ask again when it is done."


def _describe(job: Job, deliveries: list[Delivery]) -> dict[str, Any]:
    return describe(job) | {"deliveries": [describe_delivery(delivery) for delivery in deliveries]}


def _store() -> Jobs:
    return current_services.jobs


def find_job(job_id: str) -> Job:
    """Return a job of the client app that asks.

    Raises:
        NotFound: It has no such job.
    """
    if not re.fullmatch("[0-9a-f]{32}", job_id):  # PostgreSQL takes no NUL in a text, not even to look for it
        raise NotFound(f"There is no job {job_id[:40]!r} of yours.")
    return _store().find(job_id, g.client.id)
