"""What client apps may ask for: immutable records of pydantic, each rule of which is written once.

A record validates the fields that a client sent, generates their schema in ``/openapi.json``, travels between the
modules, and lies as JSON in the row of its job. Fields come in from the routes; out go a record, or one sentence that
names the field that cannot be used (:class:`~app.errors.RequestError`).

    reading               fields → record or sentence; JSON; the base of the records
    fields                the types of fields: addresses, names, labels, numbers
    detection_request     DetectionRequest, and lists of manifests
    similarity_request    SimilarityRequest with its Sources, ForgetRequest
    training_requests     TrainingRequest, EvaluationRequest
"""

from app.jobs.requests.detection_request import DetectionOptions, DetectionRequest, RefusedLine, read_list
from app.jobs.requests.reading import Request, read
from app.jobs.requests.similarity_request import ForgetRequest, SimilarityRequest, Source
from app.jobs.requests.training_requests import EvaluationRequest, TrainingRequest

__all__ = [
    "DetectionOptions",
    "DetectionRequest",
    "EvaluationRequest",
    "ForgetRequest",
    "RefusedLine",
    "Request",
    "SimilarityRequest",
    "Source",
    "TrainingRequest",
    "read",
    "read_list",
]
