"""Types of the JSON responses about exports. Docstrings and descriptions become part of ``/openapi.json``."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypeAliasType, TypedDict

from app.jobs.job_answers import Count, JobId, Time
from app.routes.answers import Annotations, Message

Number = Annotated[int, Field(ge=1)]


class Link(TypedDict):
    """A link for viewers, which needs no API key."""

    message: Message
    job_id: JobId
    manifest_url: Annotated[str, Field(description="The URL of the manifest with annotations, with its signature.")]
    expires: Annotated[Time, Field(description="The end of the link.")]


class FailedCanvas(TypedDict):
    """A canvas that was not processed."""

    canvas_number: Number
    reason: str


class CocoInfo(TypedDict):
    """The result that the labels were made from."""

    description: str
    url: Annotated[str, Field(description="The URL of the manifest.")]
    date_created: Time
    failed: Annotated[list[FailedCanvas], Field(description="Canvases that are not among the images.")]


class CocoImage(TypedDict):
    """A page that was processed."""

    id: Annotated[Number, Field(description="The number of the canvas.")]
    file_name: str
    width: Number
    height: Number
    coco_url: Annotated[str, Field(description="The URL of the image.")]


class CocoAnnotation(TypedDict):
    """A detection."""

    id: Number
    image_id: Number
    category_id: Annotated[Number, Field(description="The ID of the class, plus 1.")]
    bbox: Annotated[list[int], Field(description="Left, top, width and height, in pixels of the full-size image.")]
    area: Count
    segmentation: Annotated[list[list[int]], Field(description="The corners of the box.")]
    iscrowd: int
    score: Annotated[float, Field(description="The confidence of the detector, from 0 to 1.")]


class CocoCategory(TypedDict):
    """A class."""

    id: Number
    name: str


class CocoLabels(TypedDict):
    """The boxes of a detection job as COCO JSON (`format=coco`)."""

    info: CocoInfo
    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


Exported = TypeAliasType("Exported", Annotations | CocoLabels)
