"""Labels of LabelMe: a JSON file for each image (https://github.com/wkentaro/labelme)."""

import math
from collections.abc import Mapping
from typing import Any

from app.errors import RequestError
from app.training.label_formats.pixel_labels import AnnotatedImage, find_bounds, read_number, read_size, scale_box
from app.training.label_formats.yolo import Edges

# Shapes that cover an area; points and lines do not.
_AREAS = ("polygon", "rectangle", "circle", "mask", "rotation", "oriented_rectangle")


def is_labelme(document: Any) -> bool:
    """Return whether a JSON document is a label file of LabelMe."""
    return isinstance(document, Mapping) and isinstance(document.get("shapes"), list)


def parse_labelme(document: Mapping[str, Any], name: str) -> AnnotatedImage:
    """Return the labels of the image; points and lines are left out.

    Args:
        document: The JSON document.
        name: Name of the file, for error messages.

    Raises:
        RequestError: If a shape lacks a value or extends beyond the page.
    """
    boxes = []
    for n, shape in enumerate(document["shapes"], 1):
        place = f"{name}, shape {n}"
        if not isinstance(shape, Mapping) or not isinstance(shape.get("label"), str):
            raise RequestError(f"{place}: there is no label; correct or remove it.")
        if shape.get("shape_type", "polygon") not in _AREAS:
            continue
        size = read_size(document.get("imageWidth"), document.get("imageHeight"), name)
        boxes.append(scale_box(shape["label"].strip(), _find_edges(shape, place), size, place))
    return AnnotatedImage(str(document.get("imagePath", "")), [box for box in boxes if box])


def _find_edges(shape: Mapping[str, Any], place: str) -> Edges:
    pairs = shape.get("points")
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise RequestError(f"{place}: the points are not pairs of numbers; correct or remove it.")
    points = [(read_number(x, place), read_number(y, place)) for x, y in pairs]
    if shape.get("shape_type") == "circle" and len(points) == 2:
        (x, y), on_circle = points
        radius = math.dist((x, y), on_circle)
        return x - radius, y - radius, x + radius, y + radius
    return find_bounds(points)
