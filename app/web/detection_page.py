"""The pages of a detection job, one page, and all illustrations."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from flask import g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.errors import NotFound, RequestError
from app.exports import FORMATS
from app.exports.document import ExportedPage
from app.jobs.job_kinds import DETECTION
from app.jobs.page_images import find_removed, load_crop
from app.jobs.requests import SearchRequest, read
from app.jobs.requests.detection_request import name_origin
from app.net.urls import make_requestable
from app.routes import exports
from app.routes.jobs import find_job, find_job_of_kind
from app.routes.search import submit_search
from app.services import current_services
from app.web.correction_page import can_correct, list_classes, propose_name
from app.web.job_list import build_row
from app.web.page_cells import WAITING, find_least_confidence, find_page, list_cells
from app.web.rendering import load_texts, pages, read_offset, send_as
from app.web.search_page import lead_to_matches, list_backbones

# Pages and illustrations on one page of the site.
SHOWN_PAGES, SHOWN_CROPS, SHOWN_FAILED = 300, 200, 200
CORRECTED = "corrected"
# OpenSeadragon adds one style element to the page. This is the hash of its content, for the policy.
OPENSEADRAGON_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"


@dataclass(frozen=True)
class Crop:
    """An illustration on the contact sheet.

    Attributes:
        page: Its page.
        index: Its position on the page, from 1.
        box: Its box.
        version: Time of the correction of the page, if there is one. The URL of the image changes with it.
    """

    page: AnnotatedPage
    index: int
    box: BoxRecord
    version: float | None


def show_detection(job: Job, frame: dict[str, Any]) -> str:
    """Show a detection job: which pages are done, and what was found on them."""
    cells = list_cells(job)
    status = request.args.get("status", "")
    corrected = [cell for cell in cells if cell.correction]
    chosen = corrected if status == CORRECTED else [cell for cell in cells if status in ("", cell.status)]
    offset = min(read_offset(), max(len(chosen) - 1, 0))
    counts = {name: sum(cell.status == name for cell in cells) for name in (*PageStatus, WAITING)}
    counts[CORRECTED] = len(corrected)
    shown = chosen[offset : offset + SHOWN_PAGES]
    return render_template(
        "detection.html",
        **frame,
        cells=cells,
        shown=shown,
        removed_after=_find_removed_after(job, (cell.page for cell in shown)),
        chosen_status=status,
        counts=counts,
        offset=offset,
        step=SHOWN_PAGES,
        matching=len(chosen),
        failed_pages=[cell.page for cell in cells if cell.page and cell.status == PageStatus.FAILED][:SHOWN_FAILED],
        formats=[*FORMATS],
        dataset_name=propose_name(job),
        threshold=find_least_confidence(cell.page for cell in cells),
    )


@pages.get("/jobs/<job_id>/pages")
def choose_page(job_id: str) -> ResponseReturnValue:
    """Lead to the page whose number is in the query."""
    number = request.args.get("number", 0, int)
    return redirect(url_for("pages.show_page_of_job", job_id=job_id, number=max(number, 0)))


@pages.get("/jobs/<job_id>/pages/<int:number>")
def show_page_of_job(job_id: str, number: int) -> ResponseReturnValue:
    """Show one page with its detections, and the page of the image at the library for a closer look."""
    job = _find_detection(job_id)
    cells = list_cells(job)
    if not 1 <= number <= len(cells):
        raise NotFound(f"Job {job_id} has no page {number}: it has {len(cells)}.")
    cell = cells[number - 1]
    exported = _find_exported(job, number)
    g.styles = [OPENSEADRAGON_STYLE]
    service = exported.image.service if exported and exported.image else None
    if service and service.level:  # no other page asks the library for anything
        g.image_hosts = [host] if (host := _find_origin(service.id)) else []
    others = [each.number for each in cells if each.boxes]
    return render_template(
        "page.html",
        job=job,
        row=build_row(job),
        cell=cell,
        count=len(cells),
        label=_find_label(exported),
        list_offset=(number - 1) // SHOWN_PAGES * SHOWN_PAGES,
        removed_after=_find_removed_after(job, [cell.page]),
        next_found=next((other for other in others if other > number), None),
        previous_found=next((other for other in reversed(others) if other < number), None),
        service=service if service and service.level else None,
        crop_urls=[exported.build_crop_url(box) for box in cell.boxes] if exported else [],
        threshold=find_least_confidence([cell.page]),
        models=list_backbones(),
        boxes=[{"xywh": box.xywh, "class_name": box.class_name} for box in cell.boxes],
        can_correct=cell.page is not None and can_correct(job, cell.page),
        classes=list_classes(each.page for each in cells if each.page),
    )


@pages.get("/jobs/<job_id>/illustrations")
def show_illustrations(job_id: str) -> ResponseReturnValue:
    """Show all illustrations of a document on one sheet."""
    job = _find_detection(job_id)
    cells = list_cells(job)
    crops = [
        Crop(cell.page, index, box, cell.correction.at if cell.correction else None)
        for cell in cells
        if cell.page
        for index, box in enumerate(cell.page.boxes, 1)
    ]
    order = request.args.get("sort", "page")
    if order == "confidence":
        crops.sort(key=lambda crop: -crop.box.confidence)
    offset = min(read_offset(), max(len(crops) - 1, 0))
    shown = crops[offset : offset + SHOWN_CROPS]
    return render_template(
        "illustrations.html",
        job=job,
        row=build_row(job),
        crops=shown,
        removed_after=_find_removed_after(job, (crop.page for crop in shown)),
        total=len(crops),
        offset=offset,
        step=SHOWN_CROPS,
        sort=order,
        threshold=find_least_confidence(cell.page for cell in cells),
    )


@pages.get("/jobs/<job_id>/annotations")
def download_annotations(job_id: str) -> ResponseReturnValue:
    """Return the result in a format, as ``GET /jobs/<id>/annotations`` does."""
    response: Any = exports.annotations(job_id=job_id)
    if "Content-Disposition" not in response.headers:
        is_corrected = request.args.get("corrected") == "true"
        return send_as(
            response, exports.name_file(find_job(job_id), request.args.get("format") or "text", is_corrected)
        )
    return response


@pages.post("/jobs/<job_id>/pages/<int:number>/search")
def search_region(job_id: str, number: int) -> ResponseReturnValue:
    """Search for a region of a page, which is cut from the cached image. Its field ``xywh`` is in full-size pixels."""
    job = _find_detection(job_id)
    page = find_page(job, number)
    if page is None or not page.width or not page.height:
        raise NotFound(f"Job {job_id} has no page {number} with an image.")
    search = read(SearchRequest, {"model": request.form.get("model"), "xywh": request.form.get("xywh")})
    if search.box is None:
        raise RequestError(load_texts()["page"]["region_missing"])
    left, top, width, height = search.box
    right, bottom = min(left + width, page.width), min(top + height, page.height)
    if left >= right or top >= bottom:
        raise RequestError(load_texts()["page"]["region_outside"].format(width=page.width, height=page.height))
    box, size = (left, top, right - left, bottom - top), (page.width, page.height)
    image = load_crop(current_services.storage, job.id, name_origin(job.request), str(number), box, size)
    return lead_to_matches(submit_search(replace(search, xywh=""), image))


def _find_detection(job_id: str) -> Job:
    return find_job_of_kind(job_id, DETECTION, "pages")


def _find_exported(job: Job, number: int) -> ExportedPage | None:
    """Return a page with its canvas; None before the job has a result."""
    try:
        pages_of_job = exports.load_result(job).pages
    except FileNotFoundError:
        return None
    return next((page for page in pages_of_job if page.record.number == number), None)


def _find_label(page: ExportedPage | None) -> str:
    """Return the label of the canvas of a page, such as "fol. 6v", in the first language of the manifest."""
    return " ".join(next(iter(page.label.values()), ())) if page else ""


def _find_removed_after(job: Job, shown: Iterable[AnnotatedPage | None]) -> float:
    """Return the days without use after which images of some pages were removed; 0 if all are there.

    The images of unfinished jobs are not removed.
    """
    if not job.finished:
        return 0
    numbers = {page.number for page in shown if page and page.status is not PageStatus.FAILED}
    removed = find_removed(current_services.storage, job.id, name_origin(job.request), numbers)
    return current_services.settings.retention_days if removed else 0


def _find_origin(url: str) -> str:
    """Return scheme, host and port of a URL for the policy of a page; "" if its host is not plain.

    The URL comes from the manifest. Its host could end the directive and add others.
    """
    try:
        found = re.match(r"https?://([A-Za-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?(?=[/?#]|$)", make_requestable(url))
    except ValueError:
        return ""
    return found[0] if found else ""
