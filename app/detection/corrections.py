"""Corrections: the boxes that a person has drawn on a page in place of the detections.

The latest correction of a page counts. A page may be corrected to have no illustrations.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.storage import JobFolder


@dataclass(frozen=True)
class CorrectedBox:
    """An illustration; ``xywh`` is left, top, width and height in whole pixels of the full-size image."""

    xywh: tuple[int, int, int, int]
    class_name: str


@dataclass(frozen=True)
class Correction:
    """The correction of a page.

    Attributes:
        boxes: All illustrations of the page.
        by: Name of the person.
        at: Time, in seconds since the Unix epoch.
    """

    boxes: tuple[CorrectedBox, ...]
    by: str
    at: float


def save_correction(folder: JobFolder, number: int, correction: Correction) -> None:
    """Write the correction of a page into the folder of its job. It replaces an earlier one."""
    folder.corrections.save({number: asdict(correction)})


def remove_correction(folder: JobFolder, number: int) -> bool:
    """Remove the correction of a page; return whether there was one."""
    if folder.corrections.find(number) is None:
        return False
    folder.corrections.save({number: None})
    return True


def load_corrections(folder: JobFolder) -> dict[int, Correction]:
    """Return the corrections of a job by the number of the page, in the order of the pages."""
    return {number: _parse(record) for number, record in folder.corrections.load().items()}


def apply_corrections(pages: Iterable[AnnotatedPage], corrections: Mapping[int, Correction]) -> list[AnnotatedPage]:
    """Return the pages of a result with the corrections in place of the detections.

    Corrected boxes have the confidence 1. A class that the detector has not found gets the next free ID.
    """
    pages = list(pages)
    ids = {box.class_name: box.class_id for page in pages for box in page.boxes}
    for name in (box.class_name for correction in corrections.values() for box in correction.boxes):
        ids.setdefault(name, max(ids.values(), default=-1) + 1)
    return [_apply(page, corrections[page.number], ids) if page.number in corrections else page for page in pages]


def _apply(page: AnnotatedPage, correction: Correction, ids: Mapping[str, int]) -> AnnotatedPage:
    boxes = tuple(BoxRecord(box.xywh, 1.0, ids[box.class_name], box.class_name) for box in correction.boxes)
    return replace(page, boxes=boxes, status=PageStatus.DETECTED if boxes else PageStatus.EMPTY, reason="")


def _parse(record: Mapping[str, Any]) -> Correction:
    return Correction(tuple(_parse_boxes(record["boxes"])), record["by"], record["at"])


def _parse_boxes(boxes: Sequence[Mapping[str, Any]]) -> Iterator[CorrectedBox]:
    for box in boxes:
        x, y, w, h = box["xywh"]
        yield CorrectedBox((x, y, w, h), box["class_name"])
