"""The images on the pages: of a page, a detection, a document of a comparison, and a search."""

from flask import Response, request
from flask.typing import ResponseReturnValue

from app.errors import NotFound
from app.images.pixels import UNREADABLE, format_jpeg, load_reduced
from app.jobs.job_kinds import DETECTION, SIMILARITY
from app.jobs.page_images import load_crop, load_page_image, load_thumbnail
from app.jobs.pair_pictures import load_named_image
from app.jobs.pairs import ComparisonResult
from app.jobs.requests.detection_request import name_origin
from app.routes.jobs import find_job, find_job_of_kind
from app.services import current_services
from app.web.page_cells import find_page
from app.web.rendering import pages
from app.web.similarity_page import read_image

# Longer sides of images in pixels, and the time for which browsers keep them.
THUMBNAIL, MIDDLE, LARGE = 400, 800, 1200
IMAGE_SECONDS = 86_400


@pages.get("/jobs/<job_id>/pages/<number>.jpg")
def show_page_image(job_id: str, number: str) -> ResponseReturnValue:
    job = find_job_of_kind(job_id, DETECTION, "pages")
    return _send(load_page_image(current_services.storage, job.id, name_origin(job.request), number))


@pages.get("/jobs/<job_id>/thumbnails/<number>.jpg")
def show_thumbnail(job_id: str, number: str) -> ResponseReturnValue:
    job = find_job_of_kind(job_id, DETECTION, "pages")
    return _send(load_thumbnail(current_services.storage, job.id, name_origin(job.request), number))


@pages.get("/jobs/<job_id>/illustrations/<int:number>-<int:index>.jpg")
def show_crop(job_id: str, number: int, index: int) -> ResponseReturnValue:
    """Return an illustration, cut from the cached image."""
    job = find_job_of_kind(job_id, DETECTION, "pages")
    page = find_page(job, number)
    if page is None or not page.width or not page.height or not 1 <= index <= len(page.boxes):
        raise NotFound(f"Job {job_id} has no illustration {index} on page {number}.")
    size, box = (page.width, page.height), page.boxes[index - 1].xywh
    source = name_origin(job.request)
    return _send(load_crop(current_services.storage, job.id, source, str(number), box, size))


@pages.get("/jobs/<job_id>/image.jpg")
def show_image(job_id: str) -> ResponseReturnValue:
    """Return an image of a document, reduced."""
    job = find_job_of_kind(job_id, SIMILARITY, "images")
    result = ComparisonResult(current_services.storage.job(job.id), job.request["documents"])
    longest = LARGE if request.args.get("size") == "large" else THUMBNAIL
    image = load_named_image(current_services.storage, result, read_image("", job), longest)
    return _send(image)


@pages.get("/jobs/<job_id>/query.jpg")
def show_query(job_id: str) -> ResponseReturnValue:
    """Return the image of a search, reduced."""
    path = current_services.storage.job(find_job(job_id).id).query
    try:
        image = format_jpeg(load_reduced(path, MIDDLE), quality=85)
    except UNREADABLE as error:
        raise NotFound(f"The image of search {job_id} is no longer on this server.") from error
    return _send(image)


def _send(image: bytes) -> Response:
    response = Response(image, mimetype="image/jpeg")
    response.cache_control.private, response.cache_control.max_age = True, IMAGE_SECONDS
    return response
