"""What client apps may ask for, as validated records.

A record exists only when every field in it can be used: making one from a form or from JSON raises
:class:`~app.errors.RequestError` with a sentence that names the field.

A job's row has its request as JSON, and says of what kind it is: :func:`read_request` returns the record.
"""

from collections.abc import Mapping
from typing import Any

from app.jobs.requests.detection import DetectionRequest, RefusedLine
from app.jobs.requests.similarity import SimilarityRequest, Source, SourceKind

__all__ = ["DetectionRequest", "RefusedLine", "Request", "SimilarityRequest", "Source", "SourceKind", "read_request"]

Request = DetectionRequest | SimilarityRequest


def read_request(kind: str, record: Mapping[str, Any]) -> Request:
    """Return the request of a job from its row; that of a collection is one for detection."""
    return SimilarityRequest.from_json(record) if kind == SimilarityRequest.kind else DetectionRequest(**record)
