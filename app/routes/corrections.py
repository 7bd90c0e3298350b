"""``/jobs/<id>/corrections``: the boxes that people have drawn on the pages of a detection job."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from flask import Blueprint, g, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field, PlainValidator
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from app.database.tables import Job
from app.detection.annotations import AnnotatedPage, PageStatus
from app.detection.corrections import (
    CorrectedBox,
    Correction,
    load_corrections,
    remove_correction,
    save_correction,
)
from app.errors import NotFound, RequestError
from app.exports.annotation_files import parse_pages
from app.jobs.description import format_moment
from app.jobs.job_answers import JobId, Time
from app.jobs.job_kinds import DETECTION
from app.jobs.page_images import load_page_image
from app.jobs.requests.detection_request import name_origin
from app.jobs.requests.fields import Label
from app.jobs.requests.reading import parse_text, show
from app.routes.answers import Done, Message
from app.routes.jobs import find_job_of_kind
from app.routes.operations import FORMS, JSON, answers, takes_body
from app.services import current_services
from app.storage import JobFolder, translate_disk_full
from app.training.dataset_yaml import LONGEST_CLASS

routes = Blueprint("corrections", __name__)

MOST_BOXES = 1000
# Shorter side of a box, in pixels.
LEAST_SIDE = 2
DEFAULT_CLASS = "illustration"


@dataclass(frozen=True)
class BoxFields:
    """An illustration on a page."""

    xywh: Annotated[
        list[Annotated[int, Field(ge=0)]],
        Field(
            description="Left, top, width and height, in whole pixels of the full-size image.",
            min_length=4,
            max_length=4,
        ),
    ]
    class_name: Annotated[str, Field(description="The name of its class.", min_length=1, max_length=LONGEST_CLASS)] = (
        DEFAULT_CLASS
    )


def _read_boxes(value: Any) -> tuple[CorrectedBox, ...]:
    boxes = parse_text(value)
    if not isinstance(boxes, list | tuple):
        raise ValueError('must be a list of boxes: [{"xywh": [left, top, width, height]}]')
    if len(boxes) > MOST_BOXES:
        raise ValueError(f"has {len(boxes)} entries; send at most {MOST_BOXES}")
    return tuple(_read_box(number, box) for number, box in enumerate(boxes, 1))


def _read_box(number: int, box: Any) -> CorrectedBox:
    xywh = box.get("xywh") if isinstance(box, dict) else None
    if not isinstance(xywh, list) or len(xywh) != 4 or not all(type(each) is int for each in xywh):
        raise ValueError(f"must have four whole numbers as xywh in box {number}: left, top, width and height")
    name = box.get("class_name", DEFAULT_CLASS)
    name = name.strip() if isinstance(name, str) else ""
    if not name or not name.isprintable() or len(name) > LONGEST_CLASS:
        raise ValueError(
            f"must have 1 to {LONGEST_CLASS} printable characters as class_name in box {number}, "
            f"not {show(box['class_name'])}"
        )
    x, y, w, h = xywh
    return CorrectedBox((x, y, w, h), name)


@dataclass(frozen=True)
class CorrectionRequest:
    """The correction of a page."""

    # Any: with CorrectedBox, pydantic adds an unused component to `/openapi.json`.
    boxes: Annotated[
        tuple[Any, ...],
        PlainValidator(_read_boxes, json_schema_input_type=Annotated[list[BoxFields], Field(max_length=MOST_BOXES)]),
        Field(description="All illustrations of the page; an empty list for a page without any."),
    ]
    by: Annotated[Label, Field(description="The name of the person. Default: the name of your client app.")] = ""


class CorrectedPage(TypedDict):
    """The correction of a page."""

    number: Annotated[int, Field(ge=1, description="The number of the page.")]
    boxes: list["CorrectedBoxAnswer"]
    by: Annotated[str, Field(description="The name of the person.")]
    at: Time


class CorrectedBoxAnswer(TypedDict):
    """An illustration on a corrected page."""

    xywh: Annotated[list[int], Field(description="Left, top, width and height, in pixels of the full-size image.")]
    class_name: str


class Corrections(TypedDict):
    """The corrected pages of a detection job."""

    job_id: JobId
    corrections: list[CorrectedPage]


class Corrected(TypedDict):
    """A page was corrected."""

    message: Message
    job_id: JobId
    correction: CorrectedPage


@routes.get("/jobs/<job_id>/corrections")
@answers(Corrections)
def list_corrections(job_id: str) -> ResponseReturnValue:
    """List the corrected pages of a detection job."""
    job, _, folder = find_result(job_id)
    found = load_corrections(folder)
    return jsonify(job_id=job.id, corrections=[_describe(number, each) for number, each in found.items()])


@routes.put("/jobs/<job_id>/corrections/<number>")
@takes_body(CorrectionRequest, [JSON, *FORMS])
@answers(Corrected, errors=[507])
def correct(body: CorrectionRequest, job_id: str, number: str) -> ResponseReturnValue:
    """Correct the boxes of a page.

    They replace the detections, and an earlier correction. GET /jobs/{job_id}/annotations?corrected=true returns them.
    """
    job, page, folder = _find_page(job_id, number)
    _check_boxes(body.boxes, page)
    correction = Correction(body.boxes, body.by or g.client.app_name.strip(), time.time())
    with translate_disk_full():
        save_correction(folder, page.number, correction)
    count = len(body.boxes)
    boxes = "1 illustration" if count == 1 else f"{count or 'no'} illustrations"
    message = f"The correction of page {page.number} is saved: it has {boxes}."
    return jsonify(message=message, job_id=job.id, correction=_describe(page.number, correction))


@routes.delete("/jobs/<job_id>/corrections/<number>")
@answers(Done, errors=[507])
def discard(job_id: str, number: str) -> ResponseReturnValue:
    """Remove the correction of a page. The page has its detections again."""
    job, page, folder = _find_page(job_id, number)
    with translate_disk_full():
        is_removed = remove_correction(folder, page.number)
    if not is_removed:
        raise NotFound(f"Page {page.number} of job {job_id} has no correction.")
    return jsonify(Done(message=f"Page {page.number} has its detections again.", job_id=job.id))


def find_result(job_id: str) -> tuple[Job, list[AnnotatedPage], JobFolder]:
    """Return a detection job of the client app, the pages of its result without corrections, and its folder.

    Raises:
        NotFound: There is no such job, or it is of another kind.
        RequestError: The job has no result, or it is not finished.
    """
    job = find_job_of_kind(job_id, DETECTION, "pages to correct")
    folder = current_services.storage.job(job.id)
    if not job.finished or not folder.annotations_json.exists():
        raise RequestError(f"Job {job_id} is {job.state}: only the pages of a finished detection can be corrected.")
    return job, parse_pages(folder.annotations_json.read_bytes()), folder


def _find_page(job_id: str, number: str) -> tuple[Job, AnnotatedPage, JobFolder]:
    """Return a page that can be corrected, with its job and the folder of the job."""
    job, found, folder = find_result(job_id)
    wanted = int(number) if re.fullmatch("[1-9][0-9]{0,6}", number, re.ASCII) else 0
    page = next((page for page in found if page.number == wanted), None)
    if page is None:
        raise NotFound(f"Job {job_id} has no page {number[:20]!r}: it has {len(found)}.")
    if not page.width or not page.height:
        raise RequestError(f"Page {wanted} of job {job_id} has failed and has no image: only a retry can help.")
    if page.status is PageStatus.FAILED:  # it must at least have its image
        load_page_image(current_services.storage, job.id, name_origin(job.request), number)
    return job, page, folder


def _check_boxes(boxes: Sequence[CorrectedBox], page: AnnotatedPage) -> None:
    """Check that boxes have an area and are inside of their page."""
    width, height = page.width or 0, page.height or 0
    for number, box in enumerate(boxes, 1):
        x, y, w, h = box.xywh
        if min(w, h) < LEAST_SIDE:
            raise RequestError(
                f"boxes: box {number} has {show(w)} x {show(h)} pixels: draw at least {LEAST_SIDE} x {LEAST_SIDE}."
            )
        if min(x, y) < 0 or x + w > width or y + h > height:
            raise RequestError(
                f"boxes: box {number} is not inside of page {page.number}, which has {width} x {height} pixels."
            )


def _describe(number: int, correction: Correction) -> Mapping[str, Any]:
    boxes = [{"xywh": [*box.xywh], "class_name": box.class_name} for box in correction.boxes]
    return {"number": number, "boxes": boxes, "by": correction.by, "at": format_moment(correction.at, "seconds")}
