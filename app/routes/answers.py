"""Types of the JSON responses. The types of jobs are in ``app/jobs/job_answers.py``.

Docstrings and field descriptions become part of ``/openapi.json``: write them for client developers.
"""

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypeAliasType, TypedDict

from app.detection.annotations import PageStatus
from app.jobs.job_answers import Count, JobId, Time
from app.jobs.job_kinds import KINDS

# A job is described by the type of its kind.
_KINDS: Any = reduce(or_, dict.fromkeys(kind.answer for kind in KINDS.values()))
Job = TypeAliasType("Job", Annotated[_KINDS, Field(discriminator="kind")])

Message = Annotated[str, Field(description="A sentence for people.")]
StatusUrl = Annotated[str, Field(description="The URL of GET /jobs/<id> for this job.")]


class Error(TypedDict):
    """The response to a request that failed."""

    message: Annotated[str, Field(description="A sentence for people: what is wrong and what to do.")]
    code: Annotated[str, Field(description="The type of the error, for programs.")]


class Done(TypedDict):
    """The job was changed as requested."""

    message: Message
    job_id: JobId


class Queued(TypedDict):
    """A job was created."""

    message: Message
    job_id: JobId
    status_url: StatusUrl


class QueuedManifest(TypedDict):
    """The job of one manifest of a list."""

    manifest_url: str
    job_id: JobId
    status_url: StatusUrl


class RefusedManifest(TypedDict):
    """A line of a list for which no job was created."""

    line: Annotated[int, Field(ge=1, description="The line number, from 1.")]
    text: Annotated[str, Field(description="The beginning of the line.")]
    message: Annotated[str, Field(description="A sentence for people: what is wrong with the line.")]


class QueuedList(Queued):
    """A job was created for each valid line of a list. `job_id` and `status_url` are those of the first job."""

    jobs: list[QueuedManifest]
    refused: Annotated[list[RefusedManifest], Field(description="The invalid lines.")]


class Jobs(TypedDict):
    """The jobs of the client app."""

    jobs: list[Job]


class Detection(TypedDict):
    """An illustration that was detected on a canvas."""

    xywh: Annotated[
        list[int],
        Field(
            min_length=4,
            max_length=4,
            description="Left, top, width and height of the box, in pixels of the full-size image.",
        ),
    ]
    confidence: Annotated[float, Field(description="The confidence of the detector, from 0 to 1.")]
    class_id: Count
    class_name: str


class Canvas(TypedDict):
    """A canvas of the manifest and the illustrations on it."""

    number: Annotated[int, Field(ge=1, description="The position of the canvas in the manifest, from 1.")]
    canvas_id: Annotated[str, Field(description="The ID of the canvas in the manifest; empty if it has none.")]
    image_name: Annotated[str, Field(description="The name of the image in the annotation file.")]
    width: Annotated[Count | None, Field(description="The width of the full-size image, in pixels.")]
    height: Annotated[Count | None, Field(description="The height of the full-size image, in pixels.")]
    status: PageStatus
    reason: NotRequired[Annotated[str, Field(description="Why the canvas failed.")]]
    note: NotRequired[Annotated[str, Field(description="Why the size is not the one that the library states.")]]
    detections: list[Detection]


class Annotations(TypedDict):
    """The result of a detection job."""

    job_id: JobId
    manifest_url: str
    model: Annotated[str | None, Field(description="The label of the weights.")]
    canvases: list[Canvas]


class File(TypedDict):
    """A file of a job."""

    name: Annotated[str, Field(description="The path of the file within the job.")]
    url: Annotated[str, Field(description="The path to download the file from this server.")]
    size: Annotated[Count, Field(description="The size in bytes.")]


class Files(TypedDict):
    """The files of a training or an evaluation."""

    files: list[File]


class Forgotten(TypedDict):
    """The IDs of the documents of the request, by outcome."""

    message: Message
    forgotten: Annotated[list[str], Field(description="Documents that were deleted.")]
    in_use: Annotated[list[str], Field(description="Documents that were kept because of an unfinished job.")]
    unknown: Annotated[list[str], Field(description="Documents that do not exist.")]


class SplitAnswer(TypedDict):
    """The pages of a data set for one purpose: train, val or test."""

    images: Annotated[Count, Field(description="The number of pages.")]
    illustrations: Annotated[Count, Field(description="The number of boxes on these pages.")]
    empty: Annotated[Count, Field(description="The number of pages without a box.")]


class DatasetAnswer(TypedDict):
    """A data set."""

    name: str
    classes: Annotated[
        list[str], Field(description="The names of the classes. The ID of a class is its position, from 0.")
    ]
    splits: Annotated[dict[str, SplitAnswer], Field(description="The pages by purpose: train, val or test.")]
    changed: Annotated[Time, Field(description="The time of the last upload.")]


class Datasets(TypedDict):
    """The data sets of the client app."""

    datasets: list[DatasetAnswer]


class DatasetDone(TypedDict):
    """The data set was changed as requested."""

    message: Message
    dataset: DatasetAnswer


class ModelAnswer(TypedDict):
    """A file with detection weights. If `supported` is false, only the fields about the file have values."""

    name: Annotated[str, Field(description="The file name, which selects the weights in requests.")]
    label: Annotated[
        str, Field(description="The name and the month of the file, which identify the weights in results.")
    ]
    default: Annotated[bool, Field(description="Whether requests without a model use these weights.")]
    supported: Annotated[bool, Field(description="Whether the weights can be used.")]
    error: Annotated[str | None, Field(description="Why the weights cannot be used.")]
    architecture: Annotated[str | None, Field(description="The architecture of the network, such as YOLO11s.")]
    parameters: Annotated[Count | None, Field(description="The number of parameters.")]
    classes: Annotated[dict[str, str], Field(description="The names of the classes, by ID.")]
    input_size: Annotated[
        Count | None, Field(description="The longer side of the images that the weights were trained on, in pixels.")
    ]
    detection_size: Annotated[
        Count | None, Field(description="The longer side to which this server scales images for detection, in pixels.")
    ]
    sha256: Annotated[
        Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None, Field(description="The SHA-256 of the file.")
    ]
    size: Annotated[Count, Field(description="The size of the file in bytes.")]
    changed: Annotated[Time, Field(description="The time of the last change of the file.")]
    card: Annotated[str | None, Field(description="The model card, as Markdown.")]


class DefaultChoice(TypedDict):
    """The weights that requests without a model use."""

    default: Annotated[str, Field(description="The file name of the default weights.")]
    previous: Annotated[str | None, Field(description="The file name of the previous default weights.")]
    since: Annotated[
        Time | None, Field(description="When the default was chosen; null if it is the one of the server's settings.")
    ]


class NewDefault(DefaultChoice):
    """The default weights were changed."""

    message: Message


class Default(DefaultChoice):
    """The weights that requests without a model use."""

    error: Annotated[str | None, Field(description="Why the default weights cannot be used.")]


class Health(TypedDict):
    """Database and broker work."""

    status: Literal["ok"]
    database: str
    broker: str


class NotHealthy(TypedDict):
    """The database or the broker does not work."""

    status: Literal["not ok"]
    message: Annotated[str, Field(description="A sentence for people: what does not work.")]


SecondsByQueue = Annotated[
    dict[str, float | None],
    Field(description="Seconds since the last activity of each queue; null if there was none yet."),
]


class Ready(TypedDict):
    """All queues are being processed."""

    status: Literal["ready"]
    queues: SecondsByQueue


class NotReady(TypedDict):
    """Some queues are not being processed."""

    status: Literal["not ready"]
    message: Annotated[
        str, Field(description="A sentence for people: which queues are affected, and which log to read.")
    ]
    queues: NotRequired[SecondsByQueue]


Models = TypeAliasType(
    "Models",
    Annotated[dict[str, str], Field(description="The time of the last change of each weights file, by file name.")],
)
Document = TypeAliasType("Document", Annotated[dict[str, Any], Field(description="An OpenAPI document, version 3.1.")])
