"""Labels in COCO JSON (https://cocodataset.org/#format-data): one file for many images.

images          id, file_name, width, height
annotations     image_id, category_id, bbox [left, top, width, height] in pixels, segmentation, iscrowd
categories      id, name; ids start at any number and may have gaps
"""

from collections.abc import Mapping
from typing import Any

from app.errors import RequestError
from app.training.label_formats.pixel_labels import AnnotatedImage, find_bounds, read_number, read_size, scale_box
from app.training.label_formats.yolo import Edges, LabelledBox


def is_coco(document: Any) -> bool:
    """Return whether a JSON document is COCO with boxes. Files with captions have no categories."""
    lists = ("images", "annotations", "categories")
    return isinstance(document, Mapping) and all(isinstance(document.get(key), list) for key in lists)


def parse_coco(document: Mapping[str, Any], name: str) -> list[AnnotatedImage]:
    """Return the labels of all images.

    Boxes without an area are left out, as ultralytics does
    (https://docs.ultralytics.com/reference/data/converter/).

    Args:
        document: The JSON document.
        name: Name of the file, for error messages.

    Raises:
        RequestError: If an entry lacks a value, refers to an unknown one, or is a box beyond its page.
    """
    categories = {
        _get(each, "id", f"{name}, category {n}"): str(_get(each, "name", f"{name}, category {n}")).strip()
        for n, each in enumerate(document["categories"], 1)
    }
    images = {_get(each, "id", f"{name}, image {n}"): each for n, each in enumerate(document["images"], 1)}
    boxes: dict[str, list[LabelledBox]] = {number: [] for number in images}
    for n, annotation in enumerate(document["annotations"], 1):
        place = f"{name}, annotation {n}"
        image_id, category_id = _get(annotation, "image_id", place), _get(annotation, "category_id", place)
        if image_id not in images:
            raise RequestError(f"{place}: no image has the id {image_id[:40]!r}; correct or remove it.")
        if category_id not in categories:
            raise RequestError(f"{place}: no category has the id {category_id[:40]!r}; correct or remove it.")
        image = images[image_id]
        size = read_size(image.get("width"), image.get("height"), f"{name}, image {image_id[:40]!r}")
        box = scale_box(categories[category_id], _find_edges(annotation, place), size, place)
        if box:
            boxes[image_id].append(box)
    return [AnnotatedImage(_get(image, "file_name", name), boxes[number]) for number, image in images.items()]


def _get(entry: Any, key: str, place: str) -> str:
    """Return a value as text: some tools write ids as numbers, others as strings or as 1.0."""
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise RequestError(f"{place}: there is no {key}; export the labels again as COCO JSON.")
    return str(value)


def _find_edges(annotation: Mapping[str, Any], place: str) -> Edges:
    """Return the edges of the ``bbox``, or of the polygons where there is none."""
    bbox, polygons = annotation.get("bbox"), annotation.get("segmentation")
    if isinstance(bbox, list) and len(bbox) == 4:
        left, top, width, height = (read_number(value, place) for value in bbox)
        return left, top, left + width, top + height
    if not bbox and isinstance(polygons, list):
        points = [read_number(value, place) for polygon in polygons if isinstance(polygon, list) for value in polygon]
        if len(points) >= 6 and len(points) % 2 == 0:
            return find_bounds(list(zip(points[::2], points[1::2], strict=True)))
    raise RequestError(f"{place}: the bbox is not [left, top, width, height]; correct or remove it.")
