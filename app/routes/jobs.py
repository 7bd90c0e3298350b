"""``/jobs``: how far a job is, what came of it; cancel, try again, send again. A client app sees its own jobs."""

import re
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue

from app.database import Delivery, Job
from app.errors import NotFound, RequestError
from app.jobs import JobStore, State

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
    deliveries = _store().deliveries(jobs)
    return jsonify(jobs=[describe(job, deliveries[job.id]) for job in jobs])


@routes.get("/jobs/<job_id>")
def show(job_id: str) -> ResponseReturnValue:
    job = _find(job_id)
    described = describe(job, _store().deliveries([job])[job_id])
    if job.kind == "collection":
        described["jobs"] = [_describe_part(part) for part in _store().list_parts(job)]
    return jsonify(described)


@routes.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a job; of a collection, the jobs of its manifests."""
    job = _find(job_id)
    cancelled = _store().cancel(job)
    if not cancelled:
        raise RequestError(f"Job {job_id} is {_find(job_id).state} already: there is nothing to cancel.")
    message = "The job is cancelled." if job.kind != "collection" else f"{cancelled} jobs are cancelled."
    return jsonify(message=message, job_id=job_id)


@routes.post("/jobs/<job_id>/retry")
def retry(job_id: str) -> ResponseReturnValue:
    """Fetch and look at what failed, and deliver the completed file."""
    job = _find(job_id)
    failed = len(job.coverage["failed"]) if job.coverage else 0
    if not job.finished:
        raise RequestError(f"Job {job_id} is {job.state}: only a job that is finished can be tried again.")
    if job.state == State.DONE and not failed:
        raise RequestError(f"Job {job_id} has no canvas that failed: there is nothing to try again.")
    if not _store().retry(job):
        raise RequestError(f"Job {job_id} is being tried again already.")
    canvases = "The canvas that failed is" if failed == 1 else f"The {failed} canvases that failed are"
    return jsonify(message=f"{canvases if failed else 'The job is'} tried again.", job_id=job_id)


@routes.post("/jobs/<job_id>/redeliver")
def redeliver(job_id: str) -> ResponseReturnValue:
    job = _find(job_id)
    if not (job.finished and current_app.extensions["storage"].job(job.id).annotations.exists()):
        raise RequestError(f"Job {job_id} is {job.state}: only the result of a finished job can be sent again.")
    if not current_app.extensions["queue"].courier.renew(job_id):
        raise RequestError(f"Job {job_id} has no address to send to: neither a callback nor CLIENT_APP_URL was set.")
    return jsonify(message="The result will be sent again.", job_id=job_id)


@routes.get("/jobs/<job_id>/annotations")
def annotations(job_id: str) -> ResponseReturnValue:
    job = _find(job_id)
    form = request.args.get("format", "text")
    if form not in ("text", "json"):
        raise RequestError("format must be text or json.")
    folder = current_app.extensions["storage"].job(job.id)
    path = folder.annotations if form == "text" else folder.annotations_json
    if not path.exists():
        raise RequestError(f"Job {job_id} is {job.state}: it has no annotations" + _advise(job))
    if form == "text":
        return Response(path.read_bytes(), mimetype="text/plain")
    head = {"job_id": job.id, "manifest_url": job.request["manifest_url"], "model": job.model_label}
    canvases = current_app.json.loads(path.read_bytes())
    return jsonify(head | {"canvases": canvases})


def _advise(job: Job) -> str:
    return "." if job.finished else " yet; ask again when it is done."


def describe(job: Job, deliveries: list[Delivery]) -> dict[str, Any]:
    """Return a job as clients see it."""
    described = [
        {
            "url": delivery.url,
            "attempts": delivery.attempts,
            "status": delivery.status,
            "http_status": delivery.http_status,
            "error": delivery.error,
            "next_attempt": _format_time(delivery.next_attempt),
        }
        for delivery in deliveries
    ]
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return {
        "job_id": job.id,
        "kind": job.kind,
        "state": job.state,
        "progress": {"stage": job.state, "done": job.done, "total": job.total},
        "created": _format_time(job.created),
        "updated": _format_time(job.updated),
        "finished": _format_time(job.finished),
        "manifest_url": job.request["manifest_url"],
        "manifest_ref": job.manifest_ref,
        "model": job.model_label or job.request["model"] or None,
        "coverage": job.coverage or {"detected": 0, "empty": 0, "failed": []},
        "deliveries": described,
        "timings": job.timings,
        "error": error,
    }


def _describe_part(part: Job) -> dict[str, Any]:
    return {"job_id": part.id, "manifest_url": part.request["manifest_url"], "state": part.state}


def _format_time(seconds: float | None) -> str | None:
    """Return a time as RFC 3339 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _store() -> JobStore:
    return current_app.extensions["jobs"]


def _find(job_id: str) -> Job:
    if not re.fullmatch("[0-9a-f]{32}", job_id):  # PostgreSQL takes no NUL in a text, not even to look for it
        raise NotFound(f"There is no job {job_id[:40]!r} of yours.")
    return _store().find(job_id, g.client.id)
