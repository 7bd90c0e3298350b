"""Types of the JSON responses to fronts. Docstrings and descriptions become part of ``/openapi.json``."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from app.jobs.job_answers import Count

TrackingId = Annotated[str, Field(description="The ID of the task, a UUID with hyphens.")]
RunStatus = Literal["PENDING", "PROGRESS"]
EndStatus = Literal["SUCCESS", "ERROR", "CANCELLED"]
Uid = Annotated[str, Field(description="The ID of the document.")]


class Started(TypedDict):
    """A task was started."""

    tracking_id: TrackingId
    experiment_id: Annotated[str, Field(description="The field experiment_id of the request.")]


class Cancelled(TypedDict):
    """The task was cancelled."""

    tracking_id: TrackingId


class FrontProgress(TypedDict):
    """The number of finished jobs of a task."""

    done: Count
    total: Count


class Log(TypedDict):
    """The status of a task."""

    status: RunStatus | EndStatus
    infos: Annotated[list[str], Field(description="Sentences about the task.")]
    progress: FrontProgress


class TaskStatus(TypedDict):
    """A task and its status."""

    tracking_id: TrackingId
    log: Log


class FrontModel(TypedDict):
    """A model that a front can choose."""

    name: str
    model: Annotated[str, Field(description="The name to send.")]
    desc: Annotated[str, Field(description="A description for people.")]
    date: NotRequired[Annotated[str, Field(description="When the weights last changed.")]]


FrontModels = dict[str, FrontModel]


class Deleted(TypedDict):
    """The results of a document were deleted."""

    cleared_document: Annotated[Count, Field(description="The number of deleted results.")]
    message: Annotated[str, Field(description="A sentence for people.")]


class Corners(TypedDict):
    """A box, in pixels of the full-size image or as shares of its size."""

    x1: float
    y1: float
    x2: float
    y2: float
    width: float
    height: float


class FrontClass(TypedDict):
    """The class of a region."""

    id: int
    label: str


FrontCrop = TypedDict(
    "FrontCrop",
    {
        "bbox": str,
        "crop_id": str,
        "source": str,
        "confidence": float,
        "absolute": Corners,
        "relative": Corners,
        "class": FrontClass,
    },
)


class Page(TypedDict):
    """A page of a document with its regions. Pages that failed are missing."""

    source: Annotated[str, Field(description="The name of the image.")]
    width: int
    height: int
    doc_uid: Uid
    crops: list[FrontCrop]


class FrontImage(TypedDict):
    """An image of a document."""

    id: str
    uid: str
    src: Annotated[str, Field(description="The URL of the image.")]
    doc_uid: Uid
    metadata: dict[str, Any]


class Index(TypedDict):
    """The documents and images of a result, and the transpositions."""

    sources: dict[str, dict[str, Any]]
    images: list[FrontImage]
    transpositions: list[str]


class FrontScores(TypedDict):
    """The scores of a pair of documents."""

    parameters: Annotated[dict[str, Any], Field(description="The parameters of the request.")]
    index: Index
    pairs: Annotated[
        list[list[float]],
        Field(description="For each pair: two indices of images, the score, two indices of transpositions."),
    ]


class FrontIndex(TypedDict):
    """An index, in which queries search."""

    metadata: Annotated[dict[str, Any], Field(description="The index_id, the network and the transpositions.")]
    index: Index


class FrontMatches(TypedDict):
    """The best matches of the images of a query."""

    query: Annotated[Index, Field(description="The documents and images of the query.")]
    index: Annotated[Index, Field(description="The documents and images of the index.")]
    pairs: Annotated[
        list[list[float]],
        Field(description="Indices of two images, of the query and of the index; score; two transpositions."),
    ]
