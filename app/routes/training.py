"""``POST /train-model``, ``/test-model``, ``GET /jobs/<id>/files``: train weights, test them, see what came of it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Blueprint, g, jsonify, request, send_from_directory, url_for
from flask.typing import ResponseReturnValue

from app.errors import NotFound, RequestError
from app.jobs import EvaluationRequest, TrainingRequest
from app.jobs.requests.names import show_name
from app.routes.jobs import find_job
from app.services import current_services

routes = Blueprint("training", __name__)


@routes.post("/train-model")
def train_model() -> ResponseReturnValue:
    models = current_services.models
    wanted = TrainingRequest.from_form(request.form)
    wanted = replace(wanted, model=models.find(wanted.model).name)
    if f"{wanted.name}.pt" in models.list_weights():
        raise RequestError(f"name is that of weights of this server: {wanted.name}.pt; send another.")
    wanted.check_splits(current_services.datasets.find(g.client.id, wanted.data).splits)
    return _submit(wanted, f"The training is queued: {wanted.epochs} epochs on {wanted.data}.")


@routes.post("/test-model")
def test_model() -> ResponseReturnValue:
    wanted = EvaluationRequest.from_form(request.form)
    wanted = replace(wanted, model=current_services.models.find(wanted.model).name)
    split = wanted.choose_split(current_services.datasets.find(g.client.id, wanted.dataset).splits)
    return _submit(wanted, f"The test is queued: pages for {split} of {wanted.dataset}.")


@routes.get("/jobs/<job_id>/files")
def list_files(job_id: str) -> ResponseReturnValue:
    """List what came of a training or a test: figures, curves, pictures, weights."""
    folder = current_services.storage.job(find_job(job_id).id).results
    found = sorted(Path(at, name).relative_to(folder) for at, _, names in os.walk(folder) for name in names)
    whole = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    files = (_describe_file(job_id, name, folder / name) for name in whole)
    return jsonify(files=[file for file in files if file])


@routes.get("/jobs/<job_id>/files/<path:path>")
def show_file(job_id: str, path: str) -> ResponseReturnValue:
    if any(part.startswith(".") for part in path.split("/")):  # half-written
        raise NotFound(f"Job {job_id} has no file {show_name(path)}.")
    return send_from_directory(current_services.storage.job(find_job(job_id).id).results, path)


def _submit(wanted: TrainingRequest | EvaluationRequest, message: str) -> ResponseReturnValue:
    (job,) = current_services.jobs.submit(g.client.id, [wanted])
    return jsonify(message=message, job_id=job.id, status_url=url_for("jobs.show", job_id=job.id, _external=True))


def _describe_file(job_id: str, name: str, path: Path) -> dict[str, Any] | None:
    """Return what is told of a file; None of one that an evaluation replaces at this moment."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    return {"name": name, "url": url_for("training.show_file", job_id=job_id, path=name), "size": size}
