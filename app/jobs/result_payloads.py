"""Payloads of deliveries, built from the files of a job. ``job_kinds`` names the function for each kind of job."""

from app.database.tables import Delivery, Job
from app.delivery.payloads import Payload, build_annotation_payload, build_event_payload, build_scores_payload
from app.errors import ResultGone
from app.jobs import Jobs
from app.jobs.job_kinds import find_kind
from app.jobs.pairs import ComparisonResult, find_pairs
from app.jobs.requests import DetectionRequest, SimilarityRequest
from app.similarity.scores import format_scores
from app.storage import JobFolder, Storage


def load_payload(delivery: Delivery, jobs: Jobs, storage: Storage) -> Payload:
    """Return the payload of a delivery: its event, or the result of its job.

    Raises:
        ResultGone: The files of the job were removed.
    """
    if delivery.body is not None:
        return build_event_payload(delivery.body)
    job = jobs.find(delivery.job_id)
    load = find_kind(job.kind).import_payload()
    payload: Payload = load(storage.job(job.id), job, delivery.part)
    return payload


def load_annotations(folder: JobFolder, job: Job, part: str) -> Payload:
    """Return the payload with the annotation file of a detection job."""
    try:
        annotations = folder.annotations.read_bytes()
    except FileNotFoundError as error:
        raise ResultGone("The result is no longer on this server: send the manifest again.") from error
    experiment_id = DetectionRequest.from_json(job.request).experiment_id
    return build_annotation_payload(job.manifest_ref or "", annotations, job.model_label or "", experiment_id)


def load_scores(folder: JobFolder, job: Job, part: str) -> Payload:
    """Return the payload with the score file of one pair of documents."""
    request = SimilarityRequest.from_json(job.request)
    (pair,) = find_pairs(part, request.documents)
    result = ComparisonResult(folder, request.documents).load_pair(pair)
    if result is None:
        raise ResultGone("The scores are no longer on this server: send the documents again.")
    scores = format_scores(result.scores, result.a, result.b)
    return build_scores_payload(part, scores, request.model, request.experiment_id)
