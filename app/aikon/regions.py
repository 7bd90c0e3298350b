"""The result of a detection job in the form that fronts read: the pages of a document with their crops.

Boxes are in pixels of the full-size image, and as shares of its size. Pages that failed are left out, because a front
would take them for pages without regions. The events name them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.detection.annotations import PageStatus

Size = tuple[int, int]


def format_regions(
    canvases: Iterable[Mapping[str, Any]], doc_uid: str, postprocess: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the pages of a document with their regions.

    Args:
        canvases: Canvases with their detections, as in the annotations of a job.
        doc_uid: ID of the document.
        postprocess: Changes of the boxes, see :func:`adapt_box`.
    """
    return [
        {
            "source": canvas["image_name"],
            "width": canvas["width"],
            "height": canvas["height"],
            "doc_uid": doc_uid,
            "crops": [_format_crop(canvas, detection, postprocess) for detection in canvas["detections"]],
        }
        for canvas in canvases
        if canvas["status"] != PageStatus.FAILED
    ]


def adapt_box(xywh: Sequence[int], size: Size, postprocess: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return a box with the changes that a front wants, within the image.

    Args:
        xywh: Box in pixels.
        size: (width, height) of the image in pixels.
        postprocess: Whether to ``squarify`` the box around its centre, and the margins that are then added on each
            side: ``h_margin`` as a share of the width, ``v_margin`` as a share of the height.
    """
    x, y, w, h = map(float, xywh)
    if postprocess.get("squarify"):
        side = min(max(w, h), *size)
        x, y, w, h = x - (side - w) // 2, y - (side - h) // 2, side, side
    horizontal, vertical = w * (postprocess.get("h_margin") or 0), h * (postprocess.get("v_margin") or 0)
    w, h = min(w + 2 * horizontal, size[0]), min(h + 2 * vertical, size[1])
    x, y = min(max(x - horizontal, 0), size[0] - w), min(max(y - vertical, 0), size[1] - h)
    return int(x), int(y), int(w), int(h)


def _format_crop(
    canvas: Mapping[str, Any], detection: Mapping[str, Any], postprocess: Mapping[str, Any]
) -> dict[str, Any]:
    width, height = canvas["width"], canvas["height"]
    x, y, w, h = adapt_box(detection["xywh"], (width, height), postprocess)
    corners = {"x1": x, "y1": y, "x2": x + w, "y2": y + h, "width": w, "height": h}
    sides = {"x": width, "y": height, "w": width, "h": height}
    name = f"{x},{y},{w},{h}"
    return {
        "bbox": name,
        "crop_id": f"{canvas['image_name']}-{name}",
        "source": canvas["image_name"],
        "confidence": detection["confidence"],
        "absolute": corners,
        "relative": {key: round(value / sides[key[0]], 4) for key, value in corners.items()},
        "class": {"id": detection["class_id"], "label": detection["class_name"]},
    }
