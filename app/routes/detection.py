"""``POST /run_detect``, ``/detect_all``, ``/delete_detect``: find the illustrations of one manifest or of many."""

from typing import Any

from flask import Blueprint, current_app, g, jsonify, request, url_for
from flask.typing import ResponseReturnValue

from app.auth import key_required
from app.database import Job
from app.errors import RequestError
from app.jobs import DetectionRequest

routes = Blueprint("detection", __name__)

MOST_MANIFESTS = 10_000


@routes.post("/run_detect")
@key_required
def run_detect() -> ResponseReturnValue:
    job = _submit(DetectionRequest.from_form(request.form))
    return jsonify(message="The manifest is queued for detection.", **_describe(job))


@routes.post("/delete_detect")
@key_required
def delete_detect() -> ResponseReturnValue:
    job = _submit(DetectionRequest.from_form(request.form, refresh=True))
    return jsonify(message="The manifest is queued for detection on newly fetched images.", **_describe(job))


@routes.post("/detect_all")
@key_required
def detect_all() -> ResponseReturnValue:
    wanted, refused = _read_list()
    if not wanted:
        reasons = " ".join(f"Line {fault['line']}: {fault['message']}" for fault in refused[:5])
        raise RequestError(f"url_file names no manifest that can be used. {reasons}".strip())
    jobs = [{"manifest_url": each.manifest_url, **_describe(_submit(each))} for each in wanted]
    message = f"{len(jobs)} manifests are queued for detection." if len(jobs) > 1 else "1 manifest is queued."
    if refused:
        lines = ", ".join(str(fault["line"]) for fault in refused[:20])
        message += f" {len(refused)} of the list cannot be used: line {lines}."
    first = {"job_id": jobs[0]["job_id"], "status_url": jobs[0]["status_url"]}
    return jsonify(message=message, **first, jobs=jobs, refused=refused)


def _read_list() -> tuple[list[DetectionRequest], list[dict[str, Any]]]:
    """Return the requests of the uploaded list, and its lines that cannot be used. Blank lines are passed over."""
    upload = request.files.get("url_file")
    if upload is None:
        raise RequestError("url_file is missing: send a text file with one manifest address a line.")
    try:
        text = upload.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("url_file is not text: send a UTF-8 text file with one manifest address a line.") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > MOST_MANIFESTS:
        raise RequestError(f"url_file has {len(lines)} lines: send at most {MOST_MANIFESTS} manifests at a time.")
    wanted: dict[str, DetectionRequest] = {}
    refused: list[dict[str, Any]] = []
    for number, line in lines:
        try:
            wanted.setdefault(line, _check_model(DetectionRequest.from_form(request.form, manifest_url=line)))
        except RequestError as error:
            if not error.message.startswith("manifest_url"):
                raise
            refused.append({"line": number, "text": line[:200], "message": error.message})
    return list(wanted.values()), refused


def _check_model(wanted: DetectionRequest) -> DetectionRequest:
    current_app.extensions["models"].find(wanted.model)
    return wanted


def _submit(wanted: DetectionRequest) -> Job:
    return current_app.extensions["jobs"].submit(g.client.id, _check_model(wanted))


def _describe(job: Job) -> dict[str, str]:
    return {"job_id": job.id, "status_url": url_for("jobs.show", job_id=job.id, _external=True)}
