"""The pages of a detection job with their detections, also while the job runs."""

from typing import Any

from app.database.tables import Job
from app.detection.annotations import AnnotatedPage, PageStatus, parse_page
from app.exports.annotation_files import parse_json
from app.storage import JobFolder


def load_pages(folder: JobFolder, job: Job) -> list[AnnotatedPage | None]:
    """Return the pages of a detection job in the order of the manifest.

    Args:
        folder: Folder of the job.
        job: Job, which may be unfinished.

    Returns:
        One entry for each canvas; None for a canvas that has no outcome yet.
    """
    if job.finished and folder.annotations_json.exists():
        return [*parse_json(folder.annotations_json.read_bytes())]
    outcomes = {record["number"]: _parse_fetched(record) for record in folder.load("pages") if not record["file"]}
    outcomes |= {record["number"]: parse_page(record) for record in folder.load("detections")}
    count = max([*outcomes, job.total if job.coverage or outcomes else 0], default=0)
    return [outcomes.get(number) for number in range(1, count + 1)]


def _parse_fetched(record: dict[str, Any]) -> AnnotatedPage:
    """Return the page of a record in the folder ``pages`` that could not be fetched."""
    names = ("number", "canvas_id", "image_name", "width", "height", "reason")
    return AnnotatedPage(**{name: record[name] for name in names}, status=PageStatus.FAILED)
