"""What client apps may ask for, as validated records.

A record exists only when every field in it can be used: making one from a form or from JSON raises
:class:`~app.errors.RequestError` with a sentence that names the field.

A job's row has its request as JSON, and says of what kind it is: :func:`read_request` returns the record.
"""

from collections.abc import Mapping
from typing import Any

from app.jobs.requests.detection import DetectionRequest, RefusedLine
from app.jobs.requests.similarity import SimilarityRequest, Source, SourceKind
from app.jobs.requests.training import EvaluationRequest, TrainingRequest

__all__ = [
    "DetectionRequest",
    "EvaluationRequest",
    "RefusedLine",
    "Request",
    "SimilarityRequest",
    "Source",
    "SourceKind",
    "TrainingRequest",
    "read_request",
]

Request = DetectionRequest | SimilarityRequest | TrainingRequest | EvaluationRequest


def read_request(kind: str, record: Mapping[str, Any]) -> Request:
    """Return the request of a job from its row; that of a collection is one for detection."""
    if kind == SimilarityRequest.kind:
        return SimilarityRequest.from_json(record)
    kinds: dict[str, type[TrainingRequest] | type[EvaluationRequest]]
    kinds = {each.kind: each for each in (TrainingRequest, EvaluationRequest)}
    return kinds[kind](**record) if kind in kinds else DetectionRequest(**record)
