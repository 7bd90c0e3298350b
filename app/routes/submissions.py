"""The routes that create jobs: detection, similarity, training and evaluation. Also the deletion of documents."""

import re
import uuid
from dataclasses import replace
from typing import Annotated

from flask import Blueprint, g, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field
from pydantic.dataclasses import dataclass
from werkzeug.datastructures import FileStorage

from app.database.tables import Job
from app.detection.weights import Weights
from app.errors import ManifestError, RequestError
from app.jobs.requests import (
    DetectionOptions,
    DetectionRequest,
    EvaluationRequest,
    ForgetRequest,
    ManifestForm,
    SimilarityRequest,
    TrainingRequest,
    read_list,
)
from app.jobs.requests.detection_request import DOCUMENT_URL
from app.jobs.requests.fields import LONGEST_NAME, OneOf, OptionalAddress
from app.routes.answers import (
    Forgotten,
    Queued,
    QueuedList,
    QueuedManifest,
    RefusedManifest,
)
from app.routes.estimates import QueuedOrEstimate, estimate
from app.routes.large_bodies import receive_file
from app.routes.operations import FORMS, JSON, MULTIPART, File, answers, takes_body
from app.services import current_services
from app.similarity.backbones import check_pooling
from app.sources.documents import store_file
from app.sources.recognition import Limits, check_stored

routes = Blueprint("submissions", __name__)

MOST_MANIFESTS = 10_000


@dataclass(frozen=True)
class ManifestList(DetectionOptions):
    """A list of manifests, and options that apply to all of them. An empty field selects its default."""

    url_file: Annotated[File, Field(description="A text file with one URL of a manifest or collection per line.")]


@dataclass(frozen=True)
class DetectionForm(DetectionOptions):
    """Detect the illustrations on every page of a document, at a URL or in a file. Empty fields select defaults."""

    manifest_url: Annotated[OptionalAddress, Field(description=DOCUMENT_URL)] = ""
    file: Annotated[
        File | None,
        Field(description="The document itself: a zip file of images, a PDF, a list of image URLs or a manifest."),
    ] = None
    estimate: Annotated[
        str,
        OneOf(("true", "false")),
        Field(description="Whether to return only an estimate of the duration, without creating a job."),
    ] = ""


@routes.post("/run_detect")
@receive_file()
@takes_body(DetectionForm)
@answers(QueuedOrEstimate, errors=[507])
def run_detect(body: DetectionForm) -> ResponseReturnValue:
    """Detect the illustrations of a document, or estimate how long this takes.

    The document is a IIIF manifest, a zip file of images, a PDF, or a list of image URLs. It is at a URL or uploaded.
    A IIIF collection is expanded: each of its manifests gets its own job, which GET /jobs/{job_id} of the collection
    lists.
    """
    if body.manifest_url and body.file:
        raise RequestError("The request has both manifest_url and file: send one of them.")
    if body.file:
        return jsonify(_describe(_submit_file(body, body.file), "The file is queued for detection."))
    if not body.manifest_url:
        raise RequestError("manifest_url is missing: send the URL of a document, or the document itself as file.")
    detection = DetectionRequest.from_form(body, manifest_url=body.manifest_url)
    if body.estimate == "true":
        return jsonify(estimate(detection))
    (job,) = _submit_detections([detection])
    return jsonify(_describe(job, "The manifest is queued for detection."))


@routes.post("/delete_detect")
@takes_body(ManifestForm)
@answers(Queued)
def delete_detect(body: ManifestForm) -> ResponseReturnValue:
    """Detect the illustrations of a manifest on newly fetched images.

    Like POST /run_detect, but all images are fetched again instead of read from the cache.
    """
    (job,) = _submit_detections([DetectionRequest.from_form(body, manifest_url=body.manifest_url, refresh=True)])
    return jsonify(_describe(job, "The manifest is queued for detection on newly fetched images."))


@routes.post("/detect_all")
@takes_body(ManifestList, [MULTIPART])
@answers(QueuedList)
def detect_all(manifests: ManifestList) -> ResponseReturnValue:
    """Detect the illustrations of all manifests of a list.

    Each valid line gets its own job. Blank and repeated lines are ignored. Invalid lines are listed in `refused`.
    """
    detections, refused = read_list(_read_text(manifests), manifests, MOST_MANIFESTS)
    if not detections:
        reasons = " ".join(f"Line {fault.line}: {fault.message}" for fault in refused[:5])
        raise RequestError(f"url_file contains no valid manifest URL. {reasons}".strip())
    jobs = _submit_detections(detections)
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
def run_similarity(body: SimilarityRequest) -> ResponseReturnValue:
    """Compare the images of documents.

    Every image is compared with all images of the other documents and with the other images of its own document.
    """
    return jsonify(submit_comparison(body))


@routes.post("/delete_similarity")
@takes_body(ForgetRequest, [JSON, *FORMS])
@answers(Forgotten)
def delete_similarity(body: ForgetRequest) -> ResponseReturnValue:
    """Delete the stored images, embeddings and scores of documents.

    Data that another document, a detection job or another client app uses is kept. Documents of unfinished jobs are
    kept and listed in `in_use`.
    """
    found = current_services.documents.forget(g.client.id, body.documents)
    count = len(found.forgotten)
    message = "1 document is forgotten." if count == 1 else f"{count} documents are forgotten."
    if found.in_use:
        message += " The documents in in_use belong to unfinished jobs: cancel these jobs, or wait until they are done."
    return jsonify(
        Forgotten(message=message, forgotten=[*found.forgotten], in_use=[*found.in_use], unknown=[*found.unknown])
    )


@routes.post("/train-model")
@takes_body(TrainingRequest)
@answers(Queued)
def train_model(body: TrainingRequest) -> ResponseReturnValue:
    """Train detection weights on a data set.

    The new weights are added to GET /models.
    """
    body = replace(body, model=find_weights(body.model).name)
    if f"{body.name}.pt" in current_services.models.list_weights():
        raise RequestError(f"name: weights {body.name}.pt already exist; choose another name.")
    body.check_splits(current_services.datasets.find(g.client.id, body.data).splits)
    (job,) = current_services.jobs.submit(g.client.id, [body])
    return jsonify(_describe(job, f"The training is queued: {body.epochs} epochs on the data set {body.data}."))


@routes.post("/test-model")
@takes_body(EvaluationRequest)
@answers(Queued)
def test_model(body: EvaluationRequest) -> ResponseReturnValue:
    """Evaluate detection weights on the labelled pages of a data set."""
    body = replace(body, model=find_weights(body.model).name)
    split = body.choose_split(current_services.datasets.find(g.client.id, body.dataset).splits)
    (job,) = current_services.jobs.submit(g.client.id, [body])
    return jsonify(_describe(job, f"The evaluation is queued: pages for {split} of the data set {body.dataset}."))


def submit_comparison(body: SimilarityRequest) -> Queued:
    """Create a similarity job; return the answer to its request."""
    check_pooling(body.model, body.pooling)
    current_services.documents.check(g.client.id, body)
    (job,) = current_services.jobs.submit(g.client.id, [body])
    count = len(body.documents)
    which = "The document is" if count == 1 else f"{count} documents are"
    return _describe(job, f"{which} queued for comparison.")


def _read_text(manifests: ManifestList) -> str:
    try:
        return manifests.url_file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("url_file is not text: send a UTF-8 text file with one manifest URL per line.") from error


def _submit_file(body: DetectionForm, file: FileStorage) -> Job:
    """Store an uploaded document in the folder of a new job, then add the job.

    Raises:
        RequestError: The file cannot be used. Nothing is left of it.
    """
    if body.estimate == "true":
        raise RequestError("estimate needs manifest_url: the pages of a file are not downloaded.")
    weights, settings = find_weights(body.model), current_services.settings
    limits = Limits(settings.max_canvases, MOST_MANIFESTS, int(settings.max_dataset_mb * 1e6))
    job_id, name = uuid.uuid4().hex, _clean_name(file.filename or "")
    folder = current_services.storage.job(job_id)
    try:
        stored = store_file(file.stream, name, folder)
        check_stored(folder, name, limits)
        named = DetectionRequest.from_form(replace(body, model=weights.name), file_name=name, file_digest=stored.digest)
        (job,) = current_services.jobs.submit(g.client.id, [named], job_id)
    except ManifestError as error:
        folder.remove()
        raise RequestError(f"file: {error.message}") from error
    except BaseException:
        folder.remove()
        raise
    return job


def _clean_name(name: str) -> str:
    """Return the name of an uploaded file for people. Some browsers send a path."""
    name = "".join(filter(str.isprintable, re.split(r"[/\\]", name)[-1])).strip()
    return name[-LONGEST_NAME:] or "file"


def _submit_detections(detections: list[DetectionRequest]) -> list[Job]:
    # The name of the default model is stored too, so that a later change of the default does not affect the job.
    weights = find_weights(detections[0].model)
    named = [replace(each, model=weights.name) for each in detections]
    return current_services.jobs.submit(g.client.id, named)


def find_weights(name: str) -> Weights:
    """Return the weights of a request; the default for an empty name.

    Raises:
        RequestError: If there are no such weights, or they cannot be used.
    """
    weights = current_services.models.find(name)
    if error := current_services.weights_descriptions.describe(weights).error:
        raise RequestError(f"model: {error}")
    return weights


def _describe(job: Job, message: str) -> Queued:
    return Queued(message=message, job_id=job.id, status_url=_find_status(job))


def _find_status(job: Job) -> str:
    return url_for("jobs.show", job_id=job.id, _external=True)
