"""The result of a detection job in the form that fronts read: the pages of a document with their crops.

Boxes are in pixels of the full-size image, and as shares of its size. Pages that failed are left out, because a front
would take them for pages without regions. The events name them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus

Size = tuple[int, int]


def format_regions(
    pages: Iterable[AnnotatedPage], doc_uid: str, postprocess: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the pages of a document with their regions.

    Args:
        pages: Pages with their detections.
        doc_uid: ID of the document.
        postprocess: Changes of the boxes, see :func:`adapt_box`.
    """
    return [
        {
            "source": page.image_name,
            "width": page.width,
            "height": page.height,
            "doc_uid": doc_uid,
            "crops": [_format_crop(page.image_name, (page.width, page.height), box, postprocess) for box in page.boxes],
        }
        for page in pages
        if page.status is not PageStatus.FAILED and page.width and page.height
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


def _format_crop(image_name: str, size: Size, box: BoxRecord, postprocess: Mapping[str, Any]) -> dict[str, Any]:
    x, y, w, h = adapt_box(box.xywh, size, postprocess)
    corners = {"x1": x, "y1": y, "x2": x + w, "y2": y + h, "width": w, "height": h}
    sides = {"x": size[0], "y": size[1], "w": size[0], "h": size[1]}
    name = f"{x},{y},{w},{h}"
    return {
        "bbox": name,
        "crop_id": f"{image_name}-{name}",
        "source": image_name,
        "confidence": box.confidence,
        "absolute": corners,
        "relative": {key: round(value / sides[key[0]], 4) for key, value in corners.items()},
        "class": {"id": box.class_id, "label": box.class_name},
    }
