"""Labels in pixels, as annotation tools export them: the records and checks that their formats share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import RequestError
from app.training.label_formats.yolo import Edges, LabelledBox, clip_box

Size = tuple[float, float]


@dataclass(frozen=True)
class AnnotatedImage:
    """The labels of one image in a file of an annotation tool.

    Attributes:
        file_name: Name, path or URL of the image, as the tool wrote it.
        boxes: Its illustrations.
    """

    file_name: str
    boxes: Sequence[LabelledBox]


def read_number(value: Any, place: str) -> float:
    """Return a finite number from JSON or XML.

    Raises:
        RequestError: If the value is not a finite number.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RequestError(f"{place}: {str(value)[:40]!r} is not a number; correct or remove it.")
    return number


def read_size(width: Any, height: Any, place: str) -> Size:
    """Return the (width, height) of an image.

    Raises:
        RequestError: If one of them is missing or not a positive number.
    """
    if width is None or height is None:
        raise RequestError(f"{place}: the image has no width and height; export the labels again with them.")
    size = read_number(width, place), read_number(height, place)
    if min(size) <= 0:
        raise RequestError(f"{place}: the image has the size {size[0]:g} x {size[1]:g}; export the labels again.")
    return size


def find_bounds(points: Sequence[tuple[float, float]]) -> Edges:
    """Return the bounding box of points."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def scale_box(class_name: str, pixels: Edges, size: Size, place: str) -> LabelledBox | None:
    """Return a box as fractions of its page; None if it has no area.

    Raises:
        RequestError: If the box is given in fractions of the page, or extends beyond the page.
    """
    (left, top, right, bottom), (width, height) = pixels, size
    if 0 <= left < right <= 1 < width and 0 <= top < bottom <= 1 < height:
        raise RequestError(f"{place}: the box is in fractions of the page, not in pixels; export the labels again.")
    return clip_box(class_name, (left / width, top / height, right / width, bottom / height), place)
