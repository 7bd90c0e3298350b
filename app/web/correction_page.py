"""Correct the boxes of a page, and make a data set of the corrected pages."""

import re
from collections.abc import Iterable
from typing import Any

from flask import flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.detection.annotations import AnnotatedPage
from app.jobs.page_images import has_image
from app.jobs.requests.detection_request import name_origin
from app.routes import corrections, uploads
from app.services import current_services
from app.web.rendering import find_previous, pages

LONGEST_NAME = 80


@pages.post("/jobs/<job_id>/pages/<int:number>/corrections")
def save_correction(job_id: str, number: int) -> ResponseReturnValue:
    """Save the boxes of a page as ``PUT /jobs/<id>/corrections/<number>`` does, and lead to it or to the next page."""
    answer: Any = corrections.correct(job_id=job_id, number=str(number))
    flash(answer.get_json()["message"], "done")
    if target := request.form.get("next", type=int):
        return redirect(url_for("pages.show_page_of_job", job_id=job_id, number=target, _anchor="correct"))
    return redirect(find_previous())


@pages.post("/jobs/<job_id>/pages/<int:number>/detections")
def discard_correction(job_id: str, number: int) -> ResponseReturnValue:
    """Remove the correction of a page as ``DELETE /jobs/<id>/corrections/<number>`` does."""
    answer: Any = corrections.discard(job_id=job_id, number=str(number))
    flash(answer.get_json()["message"], "done")
    return redirect(find_previous())


@pages.post("/jobs/<job_id>/dataset")
def make_dataset(job_id: str) -> ResponseReturnValue:
    """Make a data set of the corrected pages as ``POST /jobs/<id>/dataset`` does, and lead to the data sets."""
    answer: Any = uploads.make_dataset(job_id=job_id)
    found = answer.get_json()
    flash(found["message"], "done")
    return redirect(url_for("pages.list_datasets", _anchor=found["dataset"]["name"]))


def can_correct(job: Job, page: AnnotatedPage) -> bool:
    """Return whether a page has a size and a cached image, and its job is finished."""
    storage = current_services.storage
    if not job.finished or not page.width or not page.height or not storage.job(job.id).annotations_json.exists():
        return False
    return has_image(storage, job.id, name_origin(job.request), page.number)


def list_classes(found: Iterable[AnnotatedPage]) -> list[str]:
    """Return the names of the classes on some pages, the most frequent one first."""
    names = [box.class_name for page in found for box in page.boxes]
    return sorted({*names}, key=lambda name: (-names.count(name), name)) or [corrections.DEFAULT_CLASS]


def propose_name(job: Job) -> str:
    """Return a name for the data set of a job."""
    return re.sub("[^A-Za-z0-9_-]+", "-", job.manifest_ref or "")[:LONGEST_NAME].strip("-_") or "corrected"
