"""The pages of a detection job with their detections and corrections, also while the job runs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.database.tables import Job
from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus, parse_page
from app.detection.corrections import Correction, apply_corrections, load_corrections
from app.exports.annotation_files import parse_pages
from app.services import current_services
from app.storage import JobFolder

# Status of a page without an outcome, next to those of ``PageStatus``.
WAITING = "waiting"


@dataclass(frozen=True)
class Cell:
    """A page of the document in the strip and in the grid.

    Attributes:
        number: Number of the page, from 1.
        status: ``detected``, ``empty``, ``failed`` or ``waiting``.
        page: Page with its detections, or with its correction; None while it waits.
        correction: Correction of the page, if there is one.
    """

    number: int
    status: str
    page: AnnotatedPage | None
    correction: Correction | None = None

    @property
    def boxes(self) -> Sequence[BoxRecord]:
        return self.page.boxes if self.page else ()


def list_cells(job: Job) -> list[Cell]:
    """Return the cells of all pages of a detection job, in the order of the manifest."""
    folder = current_services.storage.job(job.id)
    corrections = load_corrections(folder) if job.finished else {}
    found = _load_pages(folder, job)
    pages = {page.number: page for page in apply_corrections(filter(None, found), corrections)}
    return [
        Cell(number, pages[number].status if page else WAITING, pages.get(number), corrections.get(number))
        for number, page in enumerate(found, 1)
    ]


def find_least_confidence(pages: Iterable[AnnotatedPage | None]) -> float:
    """Return the lowest value of the slider, which hides no box. The setting may have been lower at the detection."""
    found = (math.floor(100 * box.confidence) / 100 for page in pages if page for box in page.boxes)
    return min([current_services.settings.confidence, *found])


def find_page(job: Job, number: int) -> AnnotatedPage | None:
    """Return a page of a detection job with its correction. The other pages are parsed only if it was not detected."""
    folder = current_services.storage.job(job.id)
    if record := folder.detections.find(number):
        corrections = load_corrections(folder) if job.finished else {}
        return apply_corrections([parse_page(record)], corrections)[0]
    return next((cell.page for cell in list_cells(job) if cell.number == number), None)


def _load_pages(folder: JobFolder, job: Job) -> list[AnnotatedPage | None]:
    """Return the pages of a detection job in the order of the manifest.

    Args:
        folder: Folder of the job.
        job: Job, which may be unfinished.

    Returns:
        One entry for each canvas; None for a canvas that has no outcome yet.
    """
    if job.finished and folder.annotations_json.exists():
        return [*parse_pages(folder.annotations_json.read_bytes())]
    outcomes = {number: _parse_fetched(record) for number, record in folder.pages.load().items() if not record["file"]}
    outcomes |= {number: parse_page(record) for number, record in folder.detections.load().items()}
    count = max([*outcomes, job.total if job.coverage or outcomes else 0], default=0)
    return [outcomes.get(number) for number in range(1, count + 1)]


def _parse_fetched(record: dict[str, Any]) -> AnnotatedPage:
    """Return the failed page of a fetch record."""
    names = ("number", "canvas_id", "image_name", "width", "height", "reason")
    return AnnotatedPage(**{name: record[name] for name in names}, status=PageStatus.FAILED)
