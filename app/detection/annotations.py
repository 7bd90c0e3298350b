"""The records of a result: pages with their detections. ``app/exports`` writes them in the formats for client apps."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imports numpy, which the web process does not need
    from app.detection.boxes import Detections


class PageStatus(StrEnum):
    """Result of detection on a page: with detections, without detections, or not processed because of an error."""

    DETECTED = "detected"
    EMPTY = "empty"
    FAILED = "failed"


@dataclass(frozen=True)
class BoxRecord:
    """One detection; ``xywh`` is left, top, width and height in whole pixels of the full-size image."""

    xywh: tuple[int, int, int, int]
    confidence: float
    class_id: int
    class_name: str


@dataclass(frozen=True)
class AnnotatedPage:
    """A canvas with its detections.

    Attributes:
        number: 1-based position of the canvas in the manifest.
        canvas_id: ID of the canvas, or "".
        image_name: Name of the image in the annotation file.
        width, height: Size of the full-size image in pixels; None if the image could not be fetched.
        status: Result of the detection; ``failed`` means that the page was not processed.
        boxes: Detections, highest confidence first.
        reason: Error message of a failed page, else "".
        note: Sentence for the user about the size of the image, or "".
    """

    number: int
    canvas_id: str
    image_name: str
    width: int | None
    height: int | None
    status: PageStatus
    boxes: tuple[BoxRecord, ...] = ()
    reason: str = ""
    note: str = ""


def parse_page(record: Mapping[str, Any]) -> AnnotatedPage:
    """Parse a page that was converted by :func:`dataclasses.asdict` and stored as JSON."""
    boxes = tuple(BoxRecord(**(box | {"xywh": tuple(box["xywh"])})) for box in record["boxes"])
    return AnnotatedPage(**{**record, "boxes": boxes, "status": PageStatus(record["status"])})


def format_boxes(detections: "Detections", class_names: Mapping[int, str]) -> tuple[BoxRecord, ...]:
    """Convert detections in full-size pixels into records, highest confidence first."""
    rows = zip(detections.xywh().tolist(), detections.confidence.tolist(), detections.class_id.tolist(), strict=True)
    boxes = [
        BoxRecord((x, y, w, h), round(confidence, 4), class_id, class_names.get(class_id, str(class_id)))
        for (x, y, w, h), confidence, class_id in rows
    ]
    return tuple(sorted(boxes, key=lambda box: -box.confidence))
