"""The annotation file of the contract, and the JSON with all canvases, from which the other formats are made."""

import json
import re
from collections.abc import Iterable
from typing import Any

from app.detection.annotations import AnnotatedPage, PageStatus, parse_page


def format_text(pages: Iterable[AnnotatedPage]) -> str:
    """Return the annotation file: for each canvas a line ``number name``, then a line ``x y w h`` for each detection.

    A failed canvas has no line; the other canvases keep their numbers. Clients split the lines at spaces, so whitespace
    in a name becomes ``_``.
    """
    lines: list[str] = []
    for page in pages:
        if page.status in (PageStatus.DETECTED, PageStatus.EMPTY):
            name = re.sub(r"\s", "_", page.image_name)
            lines.append(f"{page.number} {name}\n")
            lines += [" ".join(map(str, box.xywh)) + "\n" for box in page.boxes]
    return "".join(lines)


def describe_pages(pages: Iterable[AnnotatedPage]) -> list[dict[str, Any]]:
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


def parse_pages(data: bytes) -> list[AnnotatedPage]:
    """Parse the output of :func:`describe_pages`."""
    records = json.loads(data)
    for record in records:
        record["boxes"] = record.pop("detections")
    return [*map(parse_page, records)]
