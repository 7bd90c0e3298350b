"""Label files in YOLO format, one line for each illustration of a page.

A line is ``class x_center y_center width height``. The last four are fractions of the page's width and height, with
the origin at the top left (https://docs.ultralytics.com/datasets/detect/). A line can also be a polygon of at least
three points, ``class x1 y1 x2 y2 x3 y3 …`` (https://docs.ultralytics.com/datasets/segment/); it is read as its
bounding box.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import RequestError

# Tolerance for boxes that extend beyond the page, as a fraction of its width or height: rounding, imprecise drawing.
OVERSHOOT = 0.02
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_ADVICE = "send `class x_center y_center width height`, the last four as fractions of the page from 0 to 1"


@dataclass(frozen=True)
class LabelledBox:
    """An illustration of a page.

    Attributes:
        class_id: Index of its class among the class names.
        xyxy: Left, top, right and bottom edge, as fractions of the page from 0 to 1.
    """

    class_id: int
    xyxy: tuple[float, float, float, float]


def parse_labels(data: bytes, name: str, classes: int) -> list[LabelledBox]:
    """Return the boxes of a label file, without duplicates, clipped to the page.

    Args:
        data: Content of the file.
        name: Name of the file, for error messages.
        classes: Number of classes.

    Raises:
        RequestError: If the file is not text, or a line is not a box on the page with a known class.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is not valid UTF-8: save it as UTF-8 text.") from error
    found = [_parse_row(line.split(), f"{name}, line {n}", classes) for n, line in enumerate(lines, 1) if line.strip()]
    return list(dict.fromkeys(found))


def format_labels(boxes: Sequence[LabelledBox]) -> str:
    """Return the text of a label file."""
    return "".join(f"{box.class_id} {' '.join(f'{value:.6f}' for value in _measure(box))}\n" for box in boxes)


def _measure(box: LabelledBox) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.xyxy
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _parse_row(words: list[str], place: str, classes: int) -> LabelledBox:
    if not all(map(_NUMBER.fullmatch, words)):
        raise RequestError(f"{place}: not all values are numbers; {_ADVICE}.")
    class_id, *values = map(float, words)
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise RequestError(f"{place}: there are {len(words)} numbers instead of 5; {_ADVICE}.")
    if not class_id.is_integer() or not 0 <= class_id < classes:
        there = "0" if classes == 1 else f"0 to {classes - 1}"
        raise RequestError(f"{place}: there is no class {words[0][:20]}; the class ids in yaml_file are {there}.")
    edges = _find_edges(values)
    if not all(-OVERSHOOT <= edge <= 1 + OVERSHOOT for edge in edges):
        raise RequestError(f"{place}: the box extends beyond the page; {_ADVICE}.")
    left, top, right, bottom = (min(1.0, max(0.0, edge)) for edge in edges)
    # Label files are written with six decimals; the box must still have an area then.
    if right - left < 1e-6 or bottom - top < 1e-6:
        raise RequestError(f"{place}: the box has no area; {_ADVICE}.")
    return LabelledBox(int(class_id), (left, top, right, bottom))


def _find_edges(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
