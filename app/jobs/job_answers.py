"""Types of the JSON of jobs, for each kind. ``description`` and ``job_kinds`` build the values.

The types generate the schemas in ``/openapi.json``, and the tests check them against every answer of every route. A
field that may be missing is ``NotRequired``; a field without a value yet is null.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from app.delivery.kinds import Kind, Status
from app.jobs.states import State
from app.similarity.backbones import Pooling
from app.similarity.transpositions import Transposition

Count = Annotated[int, Field(ge=0)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
JobId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class Attempt(TypedDict):
    at: Time
    http_status: int | None
    error: str | None
    seconds: float


class DeliveryAnswer(TypedDict):
    id: Annotated[str, Field(description="Value of webhook-id, the same for every attempt.")]
    kind: Kind
    part: NotRequired[Annotated[str, Field(description="Pair of documents; only in similarity jobs.")]]
    url: str
    attempts: Count
    status: Status
    http_status: int | None
    error: str | None
    next_attempt: Time | None
    history: list[Attempt]


class Progress(TypedDict):
    stage: State
    done: Count
    total: Count


class JobError(TypedDict):
    code: str
    message: str


class JobAnswer(TypedDict):
    """Fields that all kinds of jobs have."""

    job_id: JobId
    state: State
    progress: Progress
    created: Time
    updated: Time
    finished: Time | None
    timings: Annotated[dict[str, float], Field(description="Seconds in each stage.")]
    error: JobError | None


class FailedCanvas(TypedDict):
    canvas_number: int
    reason: str


class Coverage(TypedDict):
    """Canvases of a manifest by outcome. Each canvas is counted once."""

    detected: Count
    empty: Count
    failed: list[FailedCanvas]


class CollectionPart(TypedDict):
    job_id: JobId
    manifest_url: str
    state: State


class DetectionJob(JobAnswer):
    kind: Literal["detection", "collection"]
    manifest_url: str
    manifest_ref: str | None
    model: str | None
    coverage: Coverage
    deliveries: list[DeliveryAnswer]
    jobs: NotRequired[Annotated[list[CollectionPart], Field(description="Jobs of the manifests; only in collections.")]]


class FailedImage(TypedDict):
    image_name: str
    reason: str


class DocumentCoverage(TypedDict):
    doc_id: str
    images: Count
    usable: Count
    failed: list[FailedImage]
    error: str | None


class SimilarityCoverage(TypedDict):
    documents: list[DocumentCoverage]


class SimilarityJob(JobAnswer):
    kind: Literal["similarity"]
    documents: dict[str, dict[str, str]]
    model: str
    topk: Count
    transpositions: list[Transposition]
    pooling: Pooling | None
    coverage: SimilarityCoverage
    deliveries: NotRequired[Annotated[list[DeliveryAnswer], Field(description="Only in GET /jobs/<id>.")]]
    deliveries_by_status: NotRequired[Annotated[dict[Status, Count], Field(description="Only in GET /jobs.")]]


class ClassFigures(TypedDict):
    """Figures of one class, or of all classes. An undefined figure is null."""

    name: str
    illustrations: Count
    found: Count
    right: Count
    precision: float | None
    recall: float | None
    ap50: float | None
    ap50_95: float | None


class Evaluation(TypedDict):
    pages: Count
    empty_pages: Annotated[Count, Field(description="Pages without a true box.")]
    confidence: float
    iou: float
    overall: ClassFigures
    classes: list[ClassFigures]
    best_confidence: Annotated[float | None, Field(description="Confidence with the highest F1.")]
    unreadable: list[FailedImage]
    ignored_classes: Annotated[list[str], Field(description="Classes of the weights that are missing in the data set.")]
    missing_classes: Annotated[list[str], Field(description="Classes of the data set that are missing in the weights.")]
    drawn: NotRequired[Annotated[Count, Field(description="Pages with a comparison image.")]]


class TrainingJob(JobAnswer):
    kind: Literal["training"]
    data: str
    epochs: Count
    model: str | None
    weights: Annotated[
        str | None, Field(description="File name of the published weights; null before they are published.")
    ]
    last_epoch: Annotated[dict[str, Any] | None, Field(description="Losses, and figures on the val pages.")]
    figures: Annotated[dict[str, Evaluation] | None, Field(description="Figures of the new weights, by split.")]
    deliveries: list[DeliveryAnswer]


class EvaluationJob(JobAnswer):
    kind: Literal["test"]
    dataset: str
    split: Literal["train", "val", "test"] | None
    save_dir: str | None
    model: str | None
    figures: Evaluation | None
    deliveries: list[DeliveryAnswer]
