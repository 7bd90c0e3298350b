"""The annotation file of the contract, and the JSON with all canvases, from which the other formats are made."""

import json
from collections.abc import Iterable
from typing import Any

from app.detection.annotations import AnnotatedPage, PageStatus, parse_page


def format_text(pages: Iterable[AnnotatedPage]) -> str:
    """Return the annotation file: for each canvas a line ``number name``, then a line ``x y w h`` for each detection.

    A failed canvas has no line; the other canvases keep their numbers.
    """
    lines: list[str] = []
    for page in pages:
        if page.status in (PageStatus.DETECTED, PageStatus.EMPTY):
            lines.append(f"{page.number} {page.image_name}\n")
            lines += [" ".join(map(str, box.xywh)) + "\n" for box in page.boxes]
    return "".join(lines)


def format_json(pages: Iterable[AnnotatedPage]) -> list[dict[str, Any]]:
    """Return all canvases with their status, and their boxes with class and confidence."""
    return [
        {
            "number": page.number,
            "canvas_id": page.canvas_id,
            "image_name": page.image_name,
            "width": page.width,
            "height": page.height,
            "status": page.status,
            **({"reason": page.reason} if page.reason else {}),
            **({"note": page.note} if page.note else {}),
            "detections": [
                {
                    "xywh": list(box.xywh),
                    "confidence": box.confidence,
                    "class_id": box.class_id,
                    "class_name": box.class_name,
                }
                for box in page.boxes
            ],
        }
        for page in pages
    ]


def parse_json(data: bytes) -> list[AnnotatedPage]:
    """Parse the output of :func:`format_json`."""
    records = json.loads(data)
    for record in records:
        record["boxes"] = record.pop("detections")
    return [*map(parse_page, records)]
