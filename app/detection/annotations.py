"""Detections → what client apps receive: the annotation file, and the same as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy, which the web process does without
    from app.detection.boxes import Detections


class PageStatus(StrEnum):
    DETECTED = "detected"
    EMPTY = "empty"
    FAILED = "failed"


@dataclass(frozen=True)
class BoxRecord:
    """One detection in whole pixels of the full-size image."""

    xywh: tuple[int, int, int, int]
    confidence: float
    class_id: int
    class_name: str


@dataclass(frozen=True)
class AnnotatedPage:
    """A canvas with what was found on it.

    Attributes:
        number: 1-based place of the canvas in the manifest.
        canvas_id: The canvas's id, or "".
        image_name: Its name in the annotation file.
        width, height: Of the full-size image; None when it could not be fetched.
        status: ``failed`` is a page that nobody looked at, ``empty`` one without illustrations.
        boxes: Ordered by confidence.
        reason: Why it failed, else "".
    """

    number: int
    canvas_id: str
    image_name: str
    width: int | None
    height: int | None
    status: PageStatus
    boxes: tuple[BoxRecord, ...] = ()
    reason: str = ""


def format_boxes(detections: "Detections", class_names: Mapping[int, str]) -> tuple[BoxRecord, ...]:
    """Turn detections in full-size pixels into records, the surest first."""
    rows = zip(detections.xywh().tolist(), detections.confidence.tolist(), detections.class_id.tolist(), strict=True)
    boxes = [
        BoxRecord((x, y, w, h), round(confidence, 4), class_id, class_names.get(class_id, str(class_id)))
        for (x, y, w, h), confidence, class_id in rows
    ]
    return tuple(sorted(boxes, key=lambda box: -box.confidence))


def format_text(pages: Iterable[AnnotatedPage]) -> str:
    """Return the annotation file: a line ``number name`` a canvas, then a line ``x y w h`` a detection.

    A canvas that was not looked at has no line, and shifts nobody's number.
    """
    lines: list[str] = []
    for page in pages:
        if page.status in (PageStatus.DETECTED, PageStatus.EMPTY):
            lines.append(f"{page.number} {page.image_name}\n")
            lines += [" ".join(map(str, box.xywh)) + "\n" for box in page.boxes]
    return "".join(lines)


def format_json(pages: Iterable[AnnotatedPage]) -> list[dict[str, Any]]:
    """Return every canvas with its status and every box with class and confidence."""
    return [
        {
            "number": page.number,
            "canvas_id": page.canvas_id,
            "image_name": page.image_name,
            "width": page.width,
            "height": page.height,
            "status": page.status,
            **({"reason": page.reason} if page.reason else {}),
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
