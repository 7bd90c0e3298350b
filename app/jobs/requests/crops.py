"""The crops of a document that a request names: boxes on its pages."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from app.jobs.requests.fields import LONGEST_NAME
from app.sources.names import explain_name

LARGEST_NUMBER = 1_000_000
_LONGEST_SIDE = 10**9
_FORM = "has a crop without a valid xywh: send [x, y, width, height] in whole pixels, such as [10, 20, 300, 400]"


def _read_box(value: Any) -> Any:
    """Return the box of a text such as ``10,20,300,400``."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}( *, *[0-9]{1,9}){3}", value.strip()):
        value = [int(number) for number in value.split(",")]
    if not isinstance(value, list | tuple) or len(value) != 4 or not all(type(number) is int for number in value):
        raise ValueError(_FORM)
    return tuple(value)


def _check_box(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    if min(box) < 0 or max(box) > _LONGEST_SIDE or not (box[2] and box[3]):
        raise ValueError(_FORM)
    return box


Box = Annotated[
    tuple[int, int, int, int],
    Field(description="The box, as [x, y, width, height] in pixels of the full-size image."),
    BeforeValidator(_read_box),
    AfterValidator(_check_box),
]


def _check_name(name: str) -> str:
    if name and (fault := explain_name(name)):
        raise ValueError(f"has a crop with a name that {fault}")
    return name


def _check_number(number: Any) -> Any:
    if type(number) is not int or not 0 <= number <= LARGEST_NUMBER:
        raise ValueError(f"has a crop without a valid canvas_number: send a whole number from 1 to {LARGEST_NUMBER}")
    return number


OptionalName = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_check_name)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(json_schema_extra={"required": ["xywh"]}))
class Crop:
    """A crop of a page. It names the page by canvas_number or by image_name."""

    xywh: Annotated[Box, Field(validate_default=True)] = (0, 0, 0, 0)
    canvas_number: Annotated[
        int,
        Field(description="The number of the page, from 1.", ge=0, le=LARGEST_NUMBER),
        BeforeValidator(_check_number),
    ] = 0
    image_name: Annotated[
        OptionalName, Field(description="The name of the image of the page, with or without its extension.")
    ] = ""
    name: Annotated[
        OptionalName,
        Field(description="The name of the crop. Default: that of its page, without its extension, and the box."),
    ] = ""

    @model_validator(mode="after")
    def _check_page(self) -> "Crop":
        if bool(self.canvas_number) == bool(self.image_name):
            raise ValueError("has a crop without its page: send one of canvas_number and image_name")
        return self


def read_crops(value: Any) -> Any:
    """Check the form of a list of crops before its entries are read."""
    if not isinstance(value, list | tuple) or not all(isinstance(entry, dict | Crop) for entry in value):
        raise ValueError(
            'has crops that are not a list of objects, such as [{"canvas_number": 1, "xywh": [0, 0, 9, 9]}]'
        )
    return value
