"""Requests to search for an image in everything that a client app has embedded."""

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, Strict
from pydantic.dataclasses import dataclass

from app.errors import RequestError
from app.jobs.requests.crops import LARGEST_NUMBER
from app.jobs.requests.fields import FROM_TEXT, Name, OptionalAddress, OptionalJobId
from app.jobs.requests.reading import Request, parse_text
from app.jobs.requests.similarity_request import (
    DEFAULT_VERIFY,
    LARGEST_VERIFY,
    MOST_DOC_IDS,
    BackboneName,
    PoolingName,
    Transpositions,
)
from app.similarity.backbones import DEFAULT_BACKBONE
from app.similarity.transpositions import Transposition

DEFAULT_K, LARGEST_K = 20, 1000
_BOX = r"\d{1,9},\d{1,9},0{0,8}[1-9]\d{0,8},0{0,8}[1-9]\d{0,8}"


def _write_box(value: Any) -> Any:
    """Convert the list ``[x, y, w, h]`` to text."""
    is_list = isinstance(value, list | tuple) and all(type(each) is int for each in value)
    return ",".join(map(str, value)) if is_list else value


def _check_box(value: str) -> str:
    value = value.replace(" ", "")
    if value and not re.fullmatch(_BOX, value):
        raise ValueError("must be x,y,width,height in whole pixels, such as 10,20,300,400")
    return value


@dataclass(frozen=True)
class SearchRequest(Request):
    """Search for an image in the documents that were embedded by the same model. An empty field selects its default."""

    image_url: Annotated[OptionalAddress, Field(description="The URL of the image to search for.")] = ""
    xywh: Annotated[
        str,
        Field(
            description="The region of the image to search for, as x,y,width,height in pixels of the full-size image. "
            "With job_id, the box of the detection.",
            json_schema_extra={"pattern": f"^({_BOX})?$"},
        ),
        BeforeValidator(_write_box),
        AfterValidator(_check_box),
    ] = ""
    job_id: Annotated[
        OptionalJobId,
        Field(description="The ID of your detection job, in state done, that detected the illustration to search for."),
    ] = ""
    canvas_number: Annotated[
        int,
        Strict(),
        Field(description="The number of the canvas of the detection, from 1.", ge=0, le=LARGEST_NUMBER),
        FROM_TEXT,
    ] = 0
    index: Annotated[
        int,
        Strict(),
        Field(description="The position of the detection on its canvas, from 1.", ge=0, le=LARGEST_NUMBER),
        FROM_TEXT,
    ] = 0
    model: BackboneName = DEFAULT_BACKBONE
    pooling: PoolingName = ""
    transpositions: Transpositions = (Transposition.NONE,)
    documents: Annotated[
        tuple[Name, ...],
        Field(description="The IDs of the documents to search in. Default: all documents.", max_length=MOST_DOC_IDS),
        BeforeValidator(parse_text),
    ] = ()
    k: Annotated[
        int, Strict(), Field(description="The number of best matches to return.", ge=1, le=LARGEST_K), FROM_TEXT
    ] = DEFAULT_K
    verify: Annotated[
        int,
        Strict(),
        Field(
            description="The number of best matches that are verified by local features. 0 verifies nothing.",
            ge=0,
            le=LARGEST_VERIFY,
        ),
        FROM_TEXT,
    ] = DEFAULT_VERIFY

    kind: ClassVar[str] = "search"

    @property
    def needs_download(self) -> bool:
        return bool(self.image_url or self.job_id)

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """The region ``x y w h``, or None."""
        if not self.xywh:
            return None
        x, y, w, h = map(int, self.xywh.split(","))
        return x, y, w, h

    def check_image(self, has_upload: bool) -> None:
        """Check that the request has exactly one image.

        Args:
            has_upload: Whether the request has a file.

        Raises:
            RequestError: It has none or several, or does not say which detection.
        """
        there = {"image": has_upload, "image_url": self.image_url, "job_id": self.job_id}
        sent = [name for name, value in there.items() if value]
        if len(sent) != 1:
            found = f"has both {sent[0]} and {sent[1]}" if sent else "has no image"
            raise RequestError(f"The request {found}: send one of image, image_url and job_id.")
        if not self.job_id and (self.canvas_number or self.index):
            raise RequestError("canvas_number and index need a job_id: send the ID of a detection job.")
        if self.job_id and not (self.canvas_number and bool(self.index) != bool(self.xywh)):
            raise RequestError("job_id needs canvas_number and one of index and xywh, which name a detection.")
