"""The boxes of a page, and label files in YOLO format with one line for each illustration.

A line is ``class x_center y_center width height``. The last four are fractions of the page's width and height, with
the origin at the top left (https://docs.ultralytics.com/datasets/detect/). Other lines stand for their bounding box:

    class x1 y1 x2 y2 x3 y3 …           a polygon of at least three points (https://docs.ultralytics.com/datasets/segment/)
    class x1 y1 x2 y2 x3 y3 x4 y4       a rotated box (https://docs.ultralytics.com/datasets/obb/)
    class x_center … height keypoints   a pose (https://docs.ultralytics.com/datasets/pose/)
    class x_center … height confidence  a prediction, or a number from 0 as the id of a track
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.errors import RequestError

# Tolerance for boxes that extend beyond the page, as a fraction of its width or height: rounding, imprecise drawing.
OVERSHOOT = 0.02
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_ADVICE = "send `class x_center y_center width height`, the last four as fractions of the page from 0 to 1"
# Label files are written with six decimals; a box must still have an area then.
_LEAST_SIDE = 1e-6

Edges = tuple[float, float, float, float]


@dataclass(frozen=True)
class LabelledBox:
    """An illustration of a page.

    Attributes:
        class_name: Name of its class, as the data set's annotation tool wrote it.
        xyxy: Left, top, right and bottom edge, as fractions of the page from 0 to 1.
    """

    class_name: str
    xyxy: Edges


@dataclass(frozen=True)
class ClassList:
    """The classes that the ids of a label file refer to.

    Attributes:
        names: Class names; a class id is an index into them.
        source: File that lists them, for error messages.
        keypoints: Number of values that follow the box in a line of a pose data set; 0 for other data sets.
    """

    names: Sequence[str]
    source: str = "yaml_file"
    keypoints: int = 0


def parse_labels(data: bytes, name: str, classes: ClassList) -> list[LabelledBox]:
    """Return the boxes of a label file, without duplicates, clipped to the page.

    Args:
        data: Content of the file.
        name: Name of the file, for error messages.
        classes: Classes of the file.

    Raises:
        RequestError: If the file is not text, or a line is not a box on the page with a known class.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is not valid UTF-8: save it as UTF-8 text.") from error
    found = [_parse_row(line.split(), f"{name}, line {n}", classes) for n, line in enumerate(lines, 1) if line.strip()]
    return list(dict.fromkeys(found))


def looks_like_labels(data: bytes) -> bool:
    """Return whether a text file begins with a line of a label file."""
    first = next((line.split() for line in data.decode("utf-8-sig", errors="replace").splitlines() if line.strip()), [])
    return len(first) >= 5 and all(map(_NUMBER.fullmatch, first))


def format_labels(boxes: Iterable[LabelledBox], ids: Mapping[str, int]) -> str:
    """Return the text of a label file, without duplicate lines.

    Args:
        boxes: The boxes of a page.
        ids: Class id in the data set for each class name.
    """
    rows = (f"{ids[box.class_name]} {' '.join(f'{value:.6f}' for value in _measure(box))}\n" for box in boxes)
    return "".join(dict.fromkeys(rows))


def clip_box(class_name: str, edges: Edges, place: str) -> LabelledBox | None:
    """Return a box, clipped to the page; None if it has no area.

    Args:
        class_name: Name of its class.
        edges: Left, top, right and bottom edge, as fractions of the page.
        place: Place of the box in the upload, for error messages.

    Raises:
        RequestError: If the box extends beyond the page by more than ``OVERSHOOT``.
    """
    if not all(-OVERSHOOT <= edge <= 1 + OVERSHOOT for edge in edges):
        raise RequestError(f"{place}: the box extends beyond the page; correct or remove it.")
    left, top, right, bottom = (min(1.0, max(0.0, edge)) for edge in edges)
    if right - left < _LEAST_SIDE or bottom - top < _LEAST_SIDE:
        return None
    return LabelledBox(class_name, (left, top, right, bottom))


def _measure(box: LabelledBox) -> Edges:
    left, top, right, bottom = box.xyxy
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _parse_row(words: list[str], place: str, classes: ClassList) -> LabelledBox:
    if not all(map(_NUMBER.fullmatch, words)):
        raise RequestError(f"{place}: not all values are numbers; {_ADVICE}.")
    class_id, *values = map(float, words)
    known = len(classes.names)
    if not class_id.is_integer() or not 0 <= class_id < known:
        there = "0" if known == 1 else f"0 to {known - 1}"
        raise RequestError(
            f"{place}: there is no class {words[0][:20]}; the class ids in {classes.source} are {there}."
        )
    edges = _find_edges(values, classes.keypoints)
    if edges is None:
        raise RequestError(f"{place}: there are {len(words)} numbers instead of 5; {_ADVICE}.")
    if min(values[:4]) >= 0 and max(values[:4]) > 2:
        raise RequestError(f"{place}: the values are pixels, not fractions of the page; {_ADVICE}.")
    box = clip_box(classes.names[int(class_id)], edges, place)
    if box is None:
        raise RequestError(f"{place}: the box has no area; {_ADVICE}.")
    return box


def _find_edges(values: list[float], keypoints: int) -> Edges | None:
    """Return the edges of the box that a line stands for; None if it is no such line."""
    if _has_box(values, keypoints):
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) >= 6 and len(values) % 2 == 0:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    return None


def _has_box(values: list[float], keypoints: int) -> bool:
    """Return whether a line starts with a box: it is a box, a prediction or a pose, and not a polygon."""
    extra = values[4:]
    if len(values) == 4 or (keypoints and len(extra) == keypoints):
        return True
    if len(extra) == 1:
        return 0 <= extra[0] <= 1 or (extra[0] > 1 and extra[0].is_integer())
    # Keypoints ``x y visibility``; an odd number of values, or a 2 for a visible point, cannot be a polygon.
    flags = extra[2::3]
    return (
        len(extra) >= 3
        and len(extra) % 3 == 0
        and all(flag in (0, 1, 2) for flag in flags)
        and (len(values) % 2 == 1 or 2 in flags)
    )
