"""The types of the JSON that the routes answer; those of jobs are in ``app/jobs/job_answers.py``."""

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypeAliasType, TypedDict

from app.detection.annotations import PageStatus
from app.jobs.job_answers import Count, JobId, Time
from app.jobs.job_kinds import KINDS
from app.similarity.transpositions import Transposition

# The answer about a job is that of its kind, as they are registered.
_KINDS: Any = reduce(or_, dict.fromkeys(kind.answer for kind in KINDS.values()))
Job = TypeAliasType("Job", Annotated[_KINDS, Field(discriminator="kind")])


class Error(TypedDict):
    message: Annotated[str, Field(description="One sentence for a person.")]
    code: str


class Done(TypedDict):
    message: str
    job_id: JobId


class Queued(TypedDict):
    message: str
    job_id: JobId
    status_url: str


class QueuedManifest(TypedDict):
    manifest_url: str
    job_id: JobId
    status_url: str


class RefusedManifest(TypedDict):
    line: Annotated[int, Field(ge=1)]
    text: str
    message: str


class QueuedList(Queued):
    """The jobs of a list; ``job_id`` and ``status_url`` are those of the first."""

    jobs: list[QueuedManifest]
    refused: list[RefusedManifest]


class Jobs(TypedDict):
    jobs: list[Job]


class Detection(TypedDict):
    xywh: Annotated[list[int], Field(min_length=4, max_length=4, description="Pixels of the full-size image.")]
    confidence: float
    class_id: Count
    class_name: str


class Canvas(TypedDict):
    number: Annotated[int, Field(ge=1, description="Place of the canvas in the manifest.")]
    canvas_id: str
    image_name: str
    width: Count | None
    height: Count | None
    status: PageStatus
    reason: NotRequired[Annotated[str, Field(description="Why the canvas failed.")]]
    detections: list[Detection]


class Annotations(TypedDict):
    job_id: JobId
    manifest_url: str
    model: str | None
    canvases: list[Canvas]


class Image(TypedDict):
    name: str
    url: str


class ImagePair(TypedDict):
    score: float
    transposition: Transposition
    image_1: Image
    image_2: Image


class Scores(TypedDict):
    job_id: JobId
    documents: list[str]
    model: str
    pairs: list[ImagePair]


class File(TypedDict):
    name: str
    url: str
    size: Count


class Files(TypedDict):
    files: list[File]


class Forgotten(TypedDict):
    message: str
    forgotten: list[str]
    in_use: list[str]
    unknown: list[str]


class SplitAnswer(TypedDict):
    images: Count
    illustrations: Count
    empty: Count


class DatasetAnswer(TypedDict):
    name: str
    classes: Annotated[list[str], Field(description="The id of a class is its place, from 0.")]
    splits: dict[str, SplitAnswer]
    changed: Time


class Datasets(TypedDict):
    datasets: list[DatasetAnswer]


class DatasetDone(TypedDict):
    message: str
    dataset: DatasetAnswer


class ModelAnswer(TypedDict):
    """What weights are. Of weights that cannot be used, which ``error`` says, only the file is known."""

    name: str
    label: Annotated[str, Field(description="Name in the results.")]
    default: bool
    supported: bool
    error: str | None
    architecture: str | None
    parameters: Count | None
    classes: Annotated[dict[str, str], Field(description="Names by id.")]
    input_size: Annotated[Count | None, Field(description="Longer side of the images of the training, in pixels.")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    size: Annotated[Count, Field(description="Bytes of the file.")]
    changed: Time
    card: Annotated[str | None, Field(description="Markdown.")]


class DefaultChoice(TypedDict):
    default: str
    previous: str | None
    since: Time | None


class NewDefault(DefaultChoice):
    message: str


class Default(DefaultChoice):
    error: Annotated[str | None, Field(description="Why the default cannot be used.")]


class Health(TypedDict):
    status: Literal["ok"]
    database: str
    broker: str


class NotHealthy(TypedDict):
    status: Literal["not ok"]
    message: str


Silences = Annotated[dict[str, float | None], Field(description="Seconds since a message came through each queue.")]


class Ready(TypedDict):
    status: Literal["ready"]
    queues: Silences


class NotReady(TypedDict):
    status: Literal["not ready"]
    message: str
    queues: NotRequired[Silences]


# The weights of this server: the time of the last change by file name.
Models = TypeAliasType("Models", dict[str, str])
Document = TypeAliasType("Document", dict[str, Any])
