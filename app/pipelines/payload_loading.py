"""What a delivery carries, made from the files of its job."""

from app.database.tables import Delivery, Job
from app.delivery.payloads import Parcel, build_annotation_parcel, build_event_parcel, build_scores_parcel
from app.errors import ResultGone
from app.jobs import DetectionRequest, Jobs, SimilarityRequest, read_request
from app.jobs.pairs import find_pairs
from app.jobs.results import ComparisonResult
from app.similarity.scores import format_scores
from app.storage import JobFolder, Storage


def load_parcel(delivery: Delivery, jobs: Jobs, storage: Storage) -> Parcel:
    """Return the event that a delivery holds, or the result of its job.

    Raises:
        ResultGone: The files of the job are no longer here.
    """
    if delivery.body is not None:
        return build_event_parcel(delivery.body)
    job = jobs.find(delivery.job_id)
    folder, request = storage.job(job.id), read_request(job.kind, job.request)
    if isinstance(request, SimilarityRequest):
        return _load_scores(folder, request, delivery.part)
    assert isinstance(request, DetectionRequest)  # noqa: S101 (of other kinds there is no result to be sent)
    return _load_annotations(folder, job, request.experiment_id)


def _load_annotations(folder: JobFolder, job: Job, experiment_id: str) -> Parcel:
    try:
        annotations = folder.annotations.read_bytes()
    except FileNotFoundError as error:
        raise ResultGone("The result is no longer on this server: send the manifest again.") from error
    return build_annotation_parcel(job.manifest_ref or "", annotations, job.model_label or "", experiment_id)


def _load_scores(folder: JobFolder, request: SimilarityRequest, part: str) -> Parcel:
    (pair,) = find_pairs(part, request.documents)
    result = ComparisonResult(folder, request.documents).load_pair(pair)
    if result is None:
        raise ResultGone("The scores are no longer on this server: send the documents again.")
    scores = format_scores(result.scores, result.a, result.b)
    return build_scores_parcel(part, scores, request.model, request.experiment_id)
