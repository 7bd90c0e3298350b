"""What a delivery carries, made from the files of its job."""

from app.database import Delivery
from app.delivery.parcels import Parcel, build_annotation_parcel, build_event_parcel
from app.errors import ResultGone
from app.jobs import DetectionRequest, JobStore
from app.storage import Storage


def load_parcel(delivery: Delivery, jobs: JobStore, storage: Storage) -> Parcel:
    """Return the event that a delivery holds, or the result of its job.

    Raises:
        ResultGone: The files of the job are no longer here.
    """
    if delivery.body is not None:
        return build_event_parcel(delivery.body)
    job = jobs.find(delivery.job_id)
    try:
        annotations = storage.job(job.id).annotations.read_bytes()
    except FileNotFoundError as error:
        raise ResultGone("The result is no longer on this server: send the manifest again.") from error
    experiment_id = DetectionRequest(**job.request).experiment_id
    return build_annotation_parcel(job.manifest_ref or "", annotations, job.model_label or "", experiment_id)
