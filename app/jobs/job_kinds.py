"""Registry of the kinds of jobs. A new kind needs one entry here, and the classes and modules that the entry names.

===============  ===========================================  =============================
kind             what it does                                 result
===============  ===========================================  =============================
``detection``    detect the illustrations of a manifest       annotation file
``collection``   a detection job whose URL turned out to be   none: each manifest has its own
                 a collection: it adds a job per manifest
``similarity``   compare every pair of documents              one score file per pair
``search``       search for an image in embedded documents    matches in the job's folder
``training``     train detection weights on a data set        published weights
``test``         evaluate weights on a data set               figures in the job
``aikon``        nothing: its parts, a job per document or    none: each part has its own
                 for all, work for a task of an AIKON front
===============  ===========================================  =============================
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from app.database.tables import Job
from app.jobs.job_answers import AikonJob, DetectionJob, EvaluationJob, SearchJob, SimilarityJob, TrainingJob
from app.jobs.requests import (
    AikonTask,
    DetectionRequest,
    EvaluationRequest,
    Request,
    SearchRequest,
    SimilarityRequest,
    TrainingRequest,
)


@dataclass(frozen=True)
class Part:
    """A part of a job that can fail while the job is done. A retry repeats the failed parts."""

    singular: str
    plural: str

    def describe_failed(self, count: int) -> str:
        """Return ``The canvas that failed is`` or ``The 3 canvases that failed are``."""
        one, more = f"The {self.singular} that failed is", f"The {count} {self.plural} that failed are"
        return one if count == 1 else more


@dataclass(frozen=True)
class JobKind:
    """A kind of job.

    Attributes:
        name: Name of the kind, in rows and answers.
        request: Class of the request.
        answer: Type of the JSON of such a job, for ``/openapi.json``.
        describe: Function that returns the fields of this JSON that only this kind has.
        stages: Name of the module with the stages (protocol ``Stages`` of ``app/workers/tasks.py``), for workers only;
            "" for a kind without stages.
        payload: Function that builds the payload of a result, as ``module:function``; "" for kinds that send none.
        part: Part that a retry of a done job repeats if it failed; None for kinds whose done jobs cannot be retried.
        many_deliveries: Whether a result consists of several deliveries. Lists of jobs then contain only their number.
        urgent: Whether it comes before other kinds on every queue.
        yields: Whether other kinds come first on the GPU queue, and the job pauses for them between two steps.
        has_parts: Whether the work is done by other jobs, its parts. A cancellation or retry concerns these.
        event: Function that builds the events about the parts, as ``module:function``; "" if parts send their own.
    """

    name: str
    request: type[Request]
    answer: Any
    describe: Callable[[Job], dict[str, Any]]
    stages: str
    payload: str = ""
    part: Part | None = None
    many_deliveries: bool = False
    urgent: bool = False
    yields: bool = False
    has_parts: bool = False
    event: str = ""

    def import_stages(self) -> Any:
        """Import the module of the stages."""
        return resolve_name(self.stages)

    def import_payload(self) -> Any:
        """Import the function that builds the payload of a result."""
        return resolve_name(self.payload)

    def import_event(self) -> Any:
        """Import the function that builds the events about the parts."""
        return resolve_name(self.event)


def find_kind(name: str) -> JobKind:
    """Return the kind with a name."""
    return KINDS[name]


def _describe_detection(job: Job) -> dict[str, Any]:
    return {
        "manifest_url": job.request["manifest_url"],
        "file": job.request.get("file_name") or None,
        "manifest_ref": job.manifest_ref,
        "model": job.model_label or job.request["model"] or None,
        "coverage": job.coverage or {"detected": 0, "empty": 0, "failed": []},
    }


def _describe_similarity(job: Job) -> dict[str, Any]:
    return {
        "documents": {doc_id: _describe_source(source) for doc_id, source in job.request["documents"].items()},
        "model": job.request["model"],
        "topk": job.request["topk"],
        "verify": job.request["verify"],
        "transpositions": job.request["transpositions"],
        "pooling": job.request["pooling"] or None,
        "coverage": job.coverage or {"documents": []},
    }


def _describe_source(source: Mapping[str, Any]) -> dict[str, Any]:
    return {name: len(value) if name == "crops" else value for name, value in source.items()}


def _describe_search(job: Job) -> dict[str, Any]:
    names = ("image_url", "xywh", "model", "pooling")
    return {
        **{name: job.request[name] or None for name in names},
        **{name: job.request[name] for name in ("documents", "transpositions", "k", "verify")},
    }


def _describe_training(job: Job) -> dict[str, Any]:
    learned = job.coverage or {}
    return {
        "data": job.request["data"],
        "epochs": job.request["epochs"],
        "model": job.model_label or job.request["model"] or None,
        "weights": learned.get("weights"),
        "last_epoch": learned.get("last_epoch"),
        "figures": learned.get("figures"),
        "figures_before": learned.get("figures_before"),
        "share": learned.get("share"),
    }


def _describe_evaluation(job: Job) -> dict[str, Any]:
    return {
        "dataset": job.request["dataset"],
        "split": job.request["split"] or None,
        "save_dir": job.request["save_dir"] or None,
        "model": job.model_label or job.request["model"] or None,
        "figures": (job.coverage or {}).get("figures"),
    }


def _describe_aikon(job: Job) -> dict[str, Any]:
    names = ("task", "experiment_id", "documents", "parameters")
    return {name: job.request[name] for name in names}


DETECTION = JobKind(
    "detection",
    DetectionRequest,
    DetectionJob,
    _describe_detection,
    stages="app.workers.detection_stages",
    payload="app.jobs.result_payloads:load_annotations",
    part=Part("canvas", "canvases"),
)
COLLECTION = JobKind(
    "collection",
    DetectionRequest,
    DetectionJob,
    _describe_detection,
    stages="app.workers.detection_stages",
    has_parts=True,
)
SIMILARITY = JobKind(
    "similarity",
    SimilarityRequest,
    SimilarityJob,
    _describe_similarity,
    stages="app.workers.similarity_stages",
    payload="app.jobs.result_payloads:load_scores",
    part=Part("image", "images"),
    many_deliveries=True,
)
SEARCH = JobKind(
    "search",
    SearchRequest,
    SearchJob,
    _describe_search,
    stages="app.workers.search_stages",
    urgent=True,
)
TRAINING = JobKind(
    "training",
    TrainingRequest,
    TrainingJob,
    _describe_training,
    stages="app.workers.training_stages",
    yields=True,
)
EVALUATION = JobKind(
    "test",
    EvaluationRequest,
    EvaluationJob,
    _describe_evaluation,
    stages="app.workers.evaluation_stages",
)
AIKON = JobKind(
    "aikon",
    AikonTask,
    AikonJob,
    _describe_aikon,
    stages="",
    has_parts=True,
    event="app.aikon.events:build_event",
)

KINDS = {kind.name: kind for kind in (DETECTION, COLLECTION, SIMILARITY, SEARCH, TRAINING, EVALUATION, AIKON)}
# Names of the kinds that come first, and of those that yield to others, for the scheduler.
URGENT = frozenset(kind.name for kind in KINDS.values() if kind.urgent)
YIELDING = frozenset(kind.name for kind in KINDS.values() if kind.yields)
# Names of the kinds that report the events of their parts as their own.
REPORTING = frozenset(kind.name for kind in KINDS.values() if kind.event)
