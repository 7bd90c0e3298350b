"""Requests that create jobs, as immutable dataclasses of pydantic (records).

A record validates the fields of a request and defines their schema in ``/openapi.json``. The row of its job stores it
as JSON. In: the fields of a request. Out: a record, or a :class:`~app.errors.RequestError` that names a field.

    reading               fields → record or error message; JSON; the base class of the records
    fields                types of fields: URLs, names, labels, numbers
    detection_request     DetectionRequest, ManifestForm, and lists of manifests
    similarity_request    SimilarityRequest with its Sources, ForgetRequest
    crops                 Crop: a box on a page of a document
    search_request        SearchRequest
    training_requests     TrainingRequest, EvaluationRequest
    aikon_task            AikonTask: a task of an AIKON front, whose parts are jobs
"""

from app.jobs.requests.aikon_task import AikonDocument, AikonTask
from app.jobs.requests.detection_request import (
    DetectionOptions,
    DetectionRequest,
    ManifestForm,
    RefusedLine,
    read_list,
)
from app.jobs.requests.reading import Request, read
from app.jobs.requests.search_request import SearchRequest
from app.jobs.requests.similarity_request import ForgetRequest, SimilarityRequest, Source
from app.jobs.requests.training_requests import EvaluationRequest, TrainingRequest

__all__ = [
    "AikonDocument",
    "AikonTask",
    "DetectionOptions",
    "DetectionRequest",
    "EvaluationRequest",
    "ForgetRequest",
    "ManifestForm",
    "RefusedLine",
    "Request",
    "SearchRequest",
    "SimilarityRequest",
    "Source",
    "TrainingRequest",
    "read",
    "read_list",
]
