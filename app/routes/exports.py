"""``/jobs/<id>/annotations``, ``manifest.json``, ``pages/<number>.jpg``, ``links``: results for other software."""

import io
from typing import Annotated, Literal

from flask import Blueprint, Response, current_app, g, jsonify, send_file, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field, Strict
from pydantic.dataclasses import dataclass
from typing_extensions import TypeAliasType, TypedDict

from app.database.tables import Job
from app.errors import RequestError
from app.exports import FORMATS, JSON_LD
from app.exports.document import ExportedDocument, clean_name, load_document
from app.exports.manifest import format_manifest
from app.jobs.description import format_moment
from app.jobs.job_answers import Count, FailedCanvas, JobId, Time
from app.jobs.job_kinds import DETECTION
from app.jobs.page_images import load_page_image
from app.jobs.requests.detection_request import name_origin
from app.jobs.requests.fields import FROM_TEXT
from app.routes.answers import Annotations, Message
from app.routes.jobs import find_job, find_job_of_kind
from app.routes.operations import BINARY, FORMS, JSON, answers, takes_body, takes_query
from app.server.signed_links import DEFAULT_DAYS, MOST_DAYS, build_query, choose_expiry
from app.services import current_services

routes = Blueprint("exports", __name__)
# Routes that accept a signed link in place of a key, see ``app/server/authentication.py``.
viewer_routes = Blueprint("viewer", __name__)

TEXT, OBJECT = {"type": "string"}, {"type": "object"}
IMAGE_SECONDS = 3600

Number = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class AnnotationsQuery:
    """The query of ``GET /jobs/<id>/annotations``."""

    format: Annotated[
        Literal["text", "json", "iiif", "iiif2", "page", "alto", "coco", "yolo", "csv"],
        Field(description="The format of the response; page, alto and yolo are zip files."),
    ] = "text"
    corrected: Annotated[
        Literal["true", "false"],
        Field(description="Whether the boxes of GET /jobs/<id>/corrections replace the detections of their pages."),
    ] = "false"


@dataclass(frozen=True)
class LinkRequest:
    """The body of ``POST /jobs/<id>/links``."""

    days: Annotated[
        int, Strict(), Field(ge=1, le=MOST_DAYS, description="The number of days until the link expires."), FROM_TEXT
    ] = DEFAULT_DAYS


@dataclass(frozen=True)
class LinkQuery:
    """The query of a signed link."""

    signature: Annotated[str, Field(description="The signature of a signed link, in place of a key.")] = ""
    expires: Annotated[str, Field(description="The end of the link, in seconds since 1970.")] = ""


class Link(TypedDict):
    """A link for viewers, which needs no API key."""

    message: Message
    job_id: JobId
    manifest_url: Annotated[str, Field(description="The URL of the manifest with annotations, with its signature.")]
    expires: Annotated[Time, Field(description="The end of the link.")]


class CocoInfo(TypedDict):
    """The result that the labels were made from."""

    description: str
    url: Annotated[str, Field(description="The URL of the manifest.")]
    date_created: Time
    failed: Annotated[list[FailedCanvas], Field(description="Canvases that are not among the images.")]


class CocoImage(TypedDict):
    """A page that was processed."""

    id: Annotated[Number, Field(description="The number of the canvas.")]
    file_name: str
    width: Number
    height: Number
    coco_url: Annotated[str, Field(description="The URL of the image.")]


class CocoAnnotation(TypedDict):
    """A detection."""

    id: Number
    image_id: Number
    category_id: Annotated[Number, Field(description="The ID of the class, plus 1.")]
    bbox: Annotated[list[int], Field(description="Left, top, width and height, in pixels of the full-size image.")]
    area: Count
    segmentation: Annotated[list[list[int]], Field(description="The corners of the box.")]
    iscrowd: int
    score: Annotated[float, Field(description="The confidence of the detector, from 0 to 1.")]


class CocoCategory(TypedDict):
    """A class."""

    id: Number
    name: str


class CocoLabels(TypedDict):
    """The boxes of a detection job as COCO JSON (`format=coco`)."""

    info: CocoInfo
    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


Exported = TypeAliasType("Exported", Annotations | CocoLabels)


@routes.get("/jobs/<job_id>/annotations")
@takes_query(AnnotationsQuery)
@answers(Exported, others={"text/plain": TEXT, "text/csv": TEXT, JSON_LD: OBJECT, "application/zip": BINARY})
def annotations(query: AnnotationsQuery, job_id: str) -> ResponseReturnValue:
    """Return the boxes of a detection job.

    The text is the annotation file that is also sent to the client app: for each canvas a line `number image_name`,
    followed by a line `x y width height` per box. JSON adds confidence and class of each box, and canvases that failed.
    The other formats are for other software. Coordinates are in pixels of the full-size image; in iiif and iiif2, they
    are in canvas units. Corrected boxes have the confidence 1.
    """
    job = find_job(job_id)
    folder = current_services.storage.job(job.id)
    _check_result(job)
    chosen, corrected = FORMATS[query.format], query.corrected == "true"
    if query.format == "text":
        text = chosen.write(load_result(job, corrected=True)) if corrected else folder.annotations.read_bytes()
        return Response(text, mimetype="text/plain")
    if query.format == "json":
        stored = folder.annotations_json.read_bytes()
        canvases = current_app.json.loads(chosen.write(load_result(job, corrected=True)) if corrected else stored)
        manifest_url, model = job.request["manifest_url"], job.model_label
        return jsonify(Annotations(job_id=job.id, manifest_url=manifest_url, model=model, canvases=canvases))
    content = chosen.write(load_result(job, corrected=corrected))
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    name = name_file(job, query.format, corrected)
    return send_file(io.BytesIO(data), chosen.mimetype, as_attachment=True, download_name=name)


def name_file(job: Job, format_name: str, corrected: bool) -> str:
    """Return the name of the file of a result."""
    return f"{clean_name(job.manifest_ref or job.id)}{'-corrected' * corrected}{FORMATS[format_name].ending}"


@routes.post("/jobs/<job_id>/links")
@takes_body(LinkRequest, [JSON, *FORMS])
@answers(Link)
def add_link(body: LinkRequest, job_id: str) -> ResponseReturnValue:
    """Make a link to the manifest of a detection job that needs no API key, for viewers such as Mirador.

    Anyone who has the link can read the manifest, the boxes and the cached page images of this job until it expires.
    """
    job = find_job_of_kind(job_id, DETECTION, "manifest")
    expires = choose_expiry(body.days)
    address = url_for("viewer.show_manifest", job_id=job.id, _external=True)
    manifest_url = f"{address}{build_query(job.id, g.client, expires)}"
    message = f"Anyone can open this link for {body.days} day{'' if body.days == 1 else 's'}."
    return jsonify(
        Link(message=message, job_id=job.id, manifest_url=manifest_url, expires=format_moment(expires, "seconds"))
    )


@viewer_routes.get("/jobs/<job_id>/manifest.json")
@takes_query(LinkQuery)
@answers(None, others={JSON_LD: OBJECT})
def show_manifest(query: LinkQuery, job_id: str) -> ResponseReturnValue:
    """Return the manifest of a detection job with its boxes as annotations (IIIF Presentation 3).

    It needs a key, or a link of `POST /jobs/{job_id}/links`.
    """
    job = find_job_of_kind(job_id, DETECTION, "manifest")
    _check_result(job)
    expires = int(query.expires) if g.is_linked else choose_expiry()
    return Response(format_manifest(load_result(job, build_query(job.id, g.client, expires))), mimetype=JSON_LD)


@viewer_routes.get("/jobs/<job_id>/pages/<number>.jpg")
@takes_query(LinkQuery)
@answers(None, others={"image/jpeg": BINARY})
def show_page(_: LinkQuery, job_id: str, number: str) -> ResponseReturnValue:
    """Return the cached image of a page of a detection job.

    It may be smaller than the full-size image. It needs a key, or a link of `POST /jobs/{job_id}/links`.
    """
    job = find_job_of_kind(job_id, DETECTION, "pages")
    image = load_page_image(current_services.storage, job.id, name_origin(job.request), number)
    response = Response(image, mimetype="image/jpeg")
    response.cache_control.private, response.cache_control.max_age = True, IMAGE_SECONDS
    return response


@viewer_routes.after_request
def allow_other_sites(response: Response) -> Response:
    """Allow the scripts of all sites to read the answer to a signed link."""
    if g.is_linked and response.status_code == 200:
        response.headers["Access-Control-Allow-Origin"] = "*"
    return response


def _check_result(job: Job) -> None:
    """Check that a job has the result of a detection.

    Raises:
        RequestError: It has none (yet).
    """
    folder = current_services.storage.job(job.id)
    if not (folder.annotations.exists() and folder.annotations_json.exists()):
        advice = "." if job.finished else " yet; ask again when it is done."
        raise RequestError(f"Job {job.id} is {job.state}: it has no annotations{advice}")


def load_result(job: Job, query: str = "", *, corrected: bool = False) -> ExportedDocument:
    """Return the result of a detection job with its canvases.

    Args:
        job: Detection job.
        query: Query of a signed link, for the URLs in the result.
        corrected: Whether corrections replace the detections.

    Raises:
        FileNotFoundError: The job has no result (yet).
    """
    address = url_for("jobs.show", job_id=job.id, _external=True)
    storage, ref, model = current_services.storage, job.manifest_ref or "", job.model_label or ""
    images = storage.images(name_origin(job.request))
    return load_document(
        storage.job(job.id), job.request, images, address, ref=ref, model=model, query=query, corrected=corrected
    )
