"""The parts of a collection: one job for each of its manifests."""

import uuid
from collections.abc import Iterator, Mapping, Sequence

from app.database.tables import Job
from app.errors import RequestError
from app.jobs.requests import DetectionRequest
from app.jobs.rows import build_ending, build_job
from app.jobs.states import State


def build_parts(job: Job, requests: Sequence[DetectionRequest], refused: Mapping[str, str]) -> Iterator[Job]:
    """Yield a new job for each manifest of a collection, and a failed one for each URL that cannot be used.

    Args:
        job: Job of the collection.
        requests: Requests, one for each manifest.
        refused: Reasons by URL that cannot be used.
    """
    for request in requests:
        yield build_job(_build_part_id(job, request.manifest_url), job.app_id, request, job.id)
    for url, reason in refused.items():
        yield Job(
            id=_build_part_id(job, url),
            app_id=job.app_id,
            kind=DetectionRequest.kind,
            request=job.request | {"manifest_url": url[:200]},
            parent_id=job.id,
            **build_ending(State.FAILED, error_code=RequestError.code, error_message=reason),
        )


def can_be_retried(part: Job) -> bool:
    """Tell whether a part was cancelled or something in it failed. A refused URL stays refused."""
    if part.state == State.DONE:
        return bool(part.coverage and part.coverage["failed"])
    return part.finished is not None and part.error_code != RequestError.code


def _build_part_id(job: Job, url: str) -> str:
    """Return the job ID of a manifest: always the same, so that a second expansion adds no job."""
    return uuid.uuid5(uuid.UUID(job.id), url).hex
