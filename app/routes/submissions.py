"""The routes that make jobs: detections, comparisons, trainings, evaluations; and documents are forgotten here."""

from dataclasses import replace
from typing import Annotated

from flask import Blueprint, g, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field
from pydantic.dataclasses import dataclass

from app.database.tables import Job
from app.errors import RequestError
from app.jobs.requests import (
    DetectionOptions,
    DetectionRequest,
    EvaluationRequest,
    ForgetRequest,
    SimilarityRequest,
    TrainingRequest,
    read_list,
)
from app.routes.answers import Forgotten, Queued, QueuedList, QueuedManifest, RefusedManifest
from app.routes.operations import FORMS, JSON, MULTIPART, File, answers, takes_body
from app.services import current_services

routes = Blueprint("submissions", __name__)

MOST_MANIFESTS = 10_000


@dataclass(frozen=True)
class ManifestList(DetectionOptions):
    """A list of manifests, and the options of each."""

    url_file: Annotated[File, Field(description="A text file with one manifest address a line.")]


@routes.post("/run_detect")
@takes_body(DetectionRequest)
@answers(Queued)
def run_detect(wanted: DetectionRequest) -> ResponseReturnValue:
    """Find the illustrations of one manifest, or of each manifest of a collection."""
    (job,) = _submit_detections([wanted])
    return jsonify(_describe(job, "The manifest is queued for detection."))


@routes.post("/delete_detect")
@takes_body(DetectionRequest)
@answers(Queued)
def delete_detect(wanted: DetectionRequest) -> ResponseReturnValue:
    """Find the illustrations of one manifest on newly fetched images."""
    (job,) = _submit_detections([replace(wanted, refresh=True)])
    return jsonify(_describe(job, "The manifest is queued for detection on newly fetched images."))


@routes.post("/detect_all")
@takes_body(ManifestList, [MULTIPART])
@answers(QueuedList)
def detect_all(manifests: ManifestList) -> ResponseReturnValue:
    """Find the illustrations of the manifests in a text file, one address a line."""
    wanted, refused = read_list(_read_text(manifests), manifests)
    if not wanted:
        reasons = " ".join(f"Line {fault.line}: {fault.message}" for fault in refused[:5])
        raise RequestError(f"url_file names no manifest that can be used. {reasons}".strip())
    if len(wanted) > MOST_MANIFESTS:
        raise RequestError(f"url_file has {len(wanted)} manifests: send at most {MOST_MANIFESTS} at a time.")
    jobs = _submit_detections(wanted)
    message = "1 manifest is queued for detection." if len(jobs) == 1 else f"{len(jobs)} manifests are queued."
    if refused:
        message += f" These lines cannot be used: {', '.join(str(fault.line) for fault in refused[:20])}."
    return jsonify(
        QueuedList(
            **_describe(jobs[0], message),
            jobs=[
                QueuedManifest(manifest_url=job.request["manifest_url"], job_id=job.id, status_url=_find_status(job))
                for job in jobs
            ],
            refused=[RefusedManifest(line=each.line, text=each.text, message=each.message) for each in refused],
        )
    )


@routes.post("/run_similarity")
@takes_body(SimilarityRequest, [JSON, *FORMS])
@answers(Queued)
def run_similarity(wanted: SimilarityRequest) -> ResponseReturnValue:
    """Compare the images of every two documents, and of each with itself."""
    current_services.documents.check(g.client.id, wanted)
    (job,) = current_services.jobs.submit(g.client.id, [wanted])
    count = len(wanted.documents)
    which = "The document is" if count == 1 else f"{count} documents are"
    return jsonify(_describe(job, f"{which} queued for comparison."))


@routes.post("/delete_similarity")
@takes_body(ForgetRequest, [JSON, *FORMS])
@answers(Forgotten)
def delete_similarity(wanted: ForgetRequest) -> ResponseReturnValue:
    """Forget images, embeddings and scores of documents of yours."""
    found = current_services.documents.forget(g.client.id, wanted.documents)
    count = len(found.forgotten)
    message = "1 document is forgotten." if count == 1 else f"{count} documents are forgotten."
    if found.in_use:
        message += " Others are being compared: cancel their jobs, or wait until they are done."
    return jsonify(
        Forgotten(message=message, forgotten=[*found.forgotten], in_use=[*found.in_use], unknown=[*found.unknown])
    )


@routes.post("/train-model")
@takes_body(TrainingRequest)
@answers(Queued)
def train_model(wanted: TrainingRequest) -> ResponseReturnValue:
    """Train weights on a data set of yours. They become weights of this server."""
    models = current_services.models
    wanted = replace(wanted, model=models.find(wanted.model).name)
    if f"{wanted.name}.pt" in models.list_weights():
        raise RequestError(f"name: weights {wanted.name}.pt already exist; choose another name.")
    wanted.check_splits(current_services.datasets.find(g.client.id, wanted.data).splits)
    (job,) = current_services.jobs.submit(g.client.id, [wanted])
    return jsonify(_describe(job, f"The training is queued: {wanted.epochs} epochs on {wanted.data}."))


@routes.post("/test-model")
@takes_body(EvaluationRequest)
@answers(Queued)
def test_model(wanted: EvaluationRequest) -> ResponseReturnValue:
    """Evaluate weights on the labelled pages of a data set of yours."""
    wanted = replace(wanted, model=current_services.models.find(wanted.model).name)
    split = wanted.choose_split(current_services.datasets.find(g.client.id, wanted.dataset).splits)
    (job,) = current_services.jobs.submit(g.client.id, [wanted])
    return jsonify(_describe(job, f"The test is queued: pages for {split} of {wanted.dataset}."))


def _read_text(manifests: ManifestList) -> str:
    try:
        return manifests.url_file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("url_file is not text: send a UTF-8 text file with one manifest address a line.") from error


def _submit_detections(wanted: list[DetectionRequest]) -> list[Job]:
    # By its name, also the default: a job keeps the weights that it began with, whatever becomes the default.
    weights = current_services.models.find(wanted[0].model)
    named = [replace(each, model=weights.name) for each in wanted]
    return current_services.jobs.submit(g.client.id, named)


def _describe(job: Job, message: str) -> Queued:
    return Queued(message=message, job_id=job.id, status_url=_find_status(job))


def _find_status(job: Job) -> str:
    return url_for("jobs.show", job_id=job.id, _external=True)
