"""``POST /run_detect``, ``/detect_all``, ``/delete_detect``: find the illustrations of one manifest or of many."""

from dataclasses import replace

from flask import Blueprint, g, jsonify, request, url_for
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.errors import RequestError
from app.jobs import DetectionRequest
from app.services import current_services

routes = Blueprint("detection", __name__)

MOST_MANIFESTS = 10_000


@routes.post("/run_detect")
def run_detect() -> ResponseReturnValue:
    (job,) = _submit([DetectionRequest.from_form(request.form)])
    return jsonify(message="The manifest is queued for detection.", **_describe(job))


@routes.post("/delete_detect")
def delete_detect() -> ResponseReturnValue:
    (job,) = _submit([DetectionRequest.from_form(request.form, refresh=True)])
    return jsonify(message="The manifest is queued for detection on newly fetched images.", **_describe(job))


@routes.post("/detect_all")
def detect_all() -> ResponseReturnValue:
    wanted, refused = DetectionRequest.from_list(request.form, _read_upload())
    if not wanted:
        reasons = " ".join(f"Line {fault.line}: {fault.message}" for fault in refused[:5])
        raise RequestError(f"url_file names no manifest that can be used. {reasons}".strip())
    if len(wanted) > MOST_MANIFESTS:
        raise RequestError(f"url_file has {len(wanted)} manifests: send at most {MOST_MANIFESTS} at a time.")
    jobs = [{"manifest_url": job.request["manifest_url"], **_describe(job)} for job in _submit(wanted)]
    message = "1 manifest is queued for detection." if len(jobs) == 1 else f"{len(jobs)} manifests are queued."
    if refused:
        message += f" These lines cannot be used: {', '.join(str(fault.line) for fault in refused[:20])}."
    first = {"job_id": jobs[0]["job_id"], "status_url": jobs[0]["status_url"]}
    return jsonify(message=message, **first, jobs=jobs, refused=refused)


def _read_upload() -> str:
    """Return the text of the uploaded list."""
    upload = request.files.get("url_file")
    if upload is None:
        raise RequestError("url_file is missing: send a text file with one manifest address a line.")
    try:
        return upload.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("url_file is not text: send a UTF-8 text file with one manifest address a line.") from error


def _submit(wanted: list[DetectionRequest]) -> list[Job]:
    # By its name, also the default: a job goes on with the weights with which it began, whatever becomes the default.
    weights = current_services.models.find(wanted[0].model)
    named = [replace(each, model=weights.name) for each in wanted]
    return current_services.jobs.submit(g.client.id, named)


def _describe(job: Job) -> dict[str, str]:
    return {"job_id": job.id, "status_url": url_for("jobs.show", job_id=job.id, _external=True)}
