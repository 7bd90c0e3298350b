"""Types of the JSON of jobs, for each kind. ``description`` and ``job_kinds`` build the values.

The types generate the schemas in ``/openapi.json``, and the tests check them against every answer of every route. A
field that may be missing is ``NotRequired``; a field without a value yet is null. Docstrings and descriptions are for
client developers.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from app.delivery.kinds import Kind, Status
from app.jobs.evaluation_answers import Count, Evaluation, FailedImage
from app.jobs.states import State
from app.similarity.backbones import Pooling
from app.similarity.transpositions import Transposition

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
JobId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class Attempt(TypedDict):
    """An attempt to send a delivery."""

    at: Annotated[Time, Field(description="When the attempt was made.")]
    http_status: Annotated[int | None, Field(description="The HTTP status of the response; null without a response.")]
    error: Annotated[str | None, Field(description="Why the attempt failed.")]
    seconds: Annotated[float, Field(description="The duration of the attempt.")]


class DeliveryAnswer(TypedDict):
    """A result or an event that is sent to the client app."""

    id: Annotated[str, Field(description="The header webhook-id, which is the same for every attempt.")]
    kind: Kind
    part: NotRequired[Annotated[str, Field(description="The pair of documents; only in similarity jobs.")]]
    url: Annotated[str, Field(description="The URL that the delivery is sent to.")]
    attempts: Annotated[Count, Field(description="The number of attempts so far.")]
    status: Status
    http_status: Annotated[int | None, Field(description="The HTTP status of the last attempt.")]
    error: Annotated[str | None, Field(description="Why the last attempt failed.")]
    next_attempt: Annotated[Time | None, Field(description="When the next attempt is made.")]
    history: Annotated[list[Attempt], Field(description="All attempts so far.")]


class Progress(TypedDict):
    """The progress of the current stage."""

    stage: State
    done: Annotated[Count, Field(description="The number of finished steps, such as pages or epochs.")]
    total: Annotated[Count, Field(description="The number of all steps; 0 if it is not known yet.")]


class JobError(TypedDict):
    """Why a job failed."""

    code: Annotated[str, Field(description="The type of the error, for programs.")]
    message: Annotated[str, Field(description="A sentence for people: what is wrong and what to do.")]


class JobAnswer(TypedDict):
    """Fields that all kinds of jobs have."""

    job_id: JobId
    state: State
    progress: Progress
    created: Time
    updated: Annotated[Time, Field(description="When the job last changed.")]
    finished: Annotated[Time | None, Field(description="When the job was done, failed or cancelled.")]
    timings: Annotated[dict[str, float], Field(description="The duration of each stage, in seconds.")]
    error: Annotated[JobError | None, Field(description="Why the job failed.")]


class FailedCanvas(TypedDict):
    """A canvas that could not be processed."""

    canvas_number: Annotated[int, Field(description="The position of the canvas in the manifest, from 1.")]
    reason: Annotated[str, Field(description="Why the canvas failed.")]


class CanvasNote(TypedDict):
    """A canvas whose image has another size than the library states, or is a reduced copy."""

    canvas_number: Annotated[int, Field(description="The position of the canvas in the manifest, from 1.")]
    note: Annotated[str, Field(description="The sizes, and the one in whose pixels the boxes are.")]


class Coverage(TypedDict):
    """The canvases of a manifest by outcome. Each canvas is counted once."""

    detected: Annotated[Count, Field(description="The number of canvases with illustrations.")]
    empty: Annotated[Count, Field(description="The number of canvases without illustrations.")]
    failed: Annotated[list[FailedCanvas], Field(description="The canvases that could not be processed.")]
    notes: NotRequired[Annotated[list[CanvasNote], Field(description="Notes on canvases; absent without any.")]]


class CollectionPart(TypedDict):
    """The job of a manifest of a collection."""

    job_id: JobId
    manifest_url: str
    state: State


class DetectionJob(JobAnswer):
    """A detection job, or a collection with a detection job for each manifest."""

    kind: Literal["detection", "collection"]
    manifest_url: Annotated[str, Field(description="The URL of the document; empty for an uploaded file.")]
    file: Annotated[str | None, Field(description="The name of the uploaded file.")]
    manifest_ref: Annotated[
        str | None, Field(description="A label made from the ID of the manifest. It is part of the callback URL.")
    ]
    model: Annotated[
        str | None, Field(description="The label of the weights; their file name until the job has started.")
    ]
    coverage: Coverage
    deliveries: list[DeliveryAnswer]
    jobs: NotRequired[
        Annotated[list[CollectionPart], Field(description="The jobs of the manifests; only in collections.")]
    ]


class DocumentCoverage(TypedDict):
    """The images of a document by outcome."""

    doc_id: Annotated[str, Field(description="The ID of the document.")]
    images: Annotated[Count, Field(description="The number of images.")]
    usable: Annotated[Count, Field(description="The number of images that can be compared.")]
    failed: Annotated[list[FailedImage], Field(description="The images that cannot be compared.")]
    error: Annotated[str | None, Field(description="Why the document cannot be compared.")]


class SimilarityCoverage(TypedDict):
    """The documents of a similarity job, with their images by outcome."""

    documents: list[DocumentCoverage]


class SimilarityJob(JobAnswer):
    """A job that compares the images of documents."""

    kind: Literal["similarity"]
    documents: Annotated[
        dict[str, dict[str, str | int | bool]],
        Field(description="The sources of the images, by the ID of the document; crops is their number."),
    ]
    model: Annotated[str, Field(description="The network that embeds the images.")]
    topk: Annotated[Count, Field(description="The number of best matches per image.")]
    verify: Annotated[Count, Field(description="The number of best matches per image that are verified; 0 for none.")]
    transpositions: Annotated[
        list[Transposition], Field(description="The transformations of the first image of a pair.")
    ]
    pooling: Annotated[
        Pooling | None, Field(description="The pooling of the feature maps; null for that of the model.")
    ]
    coverage: SimilarityCoverage
    deliveries: NotRequired[Annotated[list[DeliveryAnswer], Field(description="Only in GET /jobs/<id>.")]]
    deliveries_by_status: NotRequired[
        Annotated[dict[Status, Count], Field(description="The number of deliveries by status. Only in GET /jobs.")]
    ]


class SearchJob(JobAnswer):
    """A job that searches for an image. GET /jobs/<id>/matches returns its result."""

    kind: Literal["search"]
    image_url: Annotated[str | None, Field(description="The URL of the image; null for an upload or a detection.")]
    xywh: Annotated[str | None, Field(description="The region of the image; null for the whole image.")]
    model: Annotated[str, Field(description="The network that embeds the images.")]
    pooling: Annotated[
        Pooling | None, Field(description="The pooling of the feature maps; null for that of the model.")
    ]
    documents: Annotated[list[str], Field(description="The documents of the request; empty for all.")]
    transpositions: Annotated[list[Transposition], Field(description="The transformations of the image.")]
    k: Annotated[Count, Field(description="The number of best matches.")]
    verify: Annotated[Count, Field(description="The number of best matches that are verified.")]
    deliveries: list[DeliveryAnswer]


class TrainingJob(JobAnswer):
    """A job that trains detection weights."""

    kind: Literal["training"]
    data: Annotated[str, Field(description="The name of the data set.")]
    epochs: Annotated[Count, Field(description="The number of epochs of the request.")]
    model: Annotated[str | None, Field(description="The initial weights.")]
    weights: Annotated[
        str | None, Field(description="The file name of the published weights; null before they are published.")
    ]
    last_epoch: Annotated[
        dict[str, Any] | None, Field(description="The losses of the last epoch, and its metrics on the pages for val.")
    ]
    figures: Annotated[
        dict[str, Evaluation] | None, Field(description="The metrics of the new weights, by split of the data set.")
    ]
    figures_before: Annotated[
        dict[str, Evaluation] | None,
        Field(description="The metrics of the initial weights on the same pages; null if the classes differ."),
    ]
    share: Annotated[
        float | None,
        Field(description="The share of the new weights in their mean with the initial weights; null before the end."),
    ]
    deliveries: list[DeliveryAnswer]


class EvaluationJob(JobAnswer):
    """A job that evaluates detection weights."""

    kind: Literal["test"]
    dataset: Annotated[str, Field(description="The name of the data set.")]
    split: Annotated[
        Literal["train", "val", "test"] | None, Field(description="The split of the request; null for the default.")
    ]
    save_dir: Annotated[str | None, Field(description="The field save_dir of the request, unchanged.")]
    model: Annotated[str | None, Field(description="The evaluated weights.")]
    figures: Annotated[Evaluation | None, Field(description="The metrics of the weights.")]
    deliveries: list[DeliveryAnswer]


class AikonDocument(TypedDict):
    """A document of a task of an AIKON front."""

    uid: Annotated[str, Field(description="The ID of the document in the front.")]
    type: Literal["iiif", "zip", "pdf", "url_list"]
    src: Annotated[str, Field(description="The URL of the source.")]


class AikonPart(TypedDict):
    """A job that works for a task of an AIKON front."""

    job_id: JobId
    manifest_url: NotRequired[Annotated[str, Field(description="Only in detection jobs.")]]
    state: State


class AikonJob(JobAnswer):
    """A task of an AIKON front. It is done at once: the jobs of its documents have the states."""

    kind: Literal["aikon"]
    task: Annotated[
        Literal["regions", "similarity", "indexing", "query"], Field(description="The name of the task in the front.")
    ]
    experiment_id: Annotated[str, Field(description="The ID of the treatment in the front.")]
    documents: list[AikonDocument]
    parameters: Annotated[dict[str, Any], Field(description="The parameters that the results repeat or apply.")]
    jobs: NotRequired[Annotated[list[AikonPart], Field(description="The jobs of the task. Only in GET /jobs/<id>.")]]
    deliveries: list[DeliveryAnswer]
