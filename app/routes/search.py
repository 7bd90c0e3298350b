"""``/search`` and ``/jobs/<id>/matches``: search for an image in the embedded documents of a client app.

A search is a job that comes before all others. The request waits for its result, because a person waits for the answer.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import fields as dataclass_fields
from typing import Annotated, cast

from flask import Blueprint, current_app, g, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import TypeAliasType, TypedDict

from app.database.tables import Job
from app.errors import AddressRefused, FetchError, NotAnImage, NotFound, RequestError
from app.images.formats import describe_content, find_format
from app.jobs import State
from app.jobs.job_answers import Count, JobId
from app.jobs.job_kinds import SEARCH
from app.jobs.requests import SearchRequest, Source
from app.jobs.states import RUN
from app.routes.answers import Queued
from app.routes.jobs import find_job_of_kind
from app.routes.operations import FORMS, JSON, File, answers, takes_body
from app.routes.results import Image, Verified
from app.services import current_services
from app.similarity.backbones import check_pooling
from app.similarity.transpositions import Transposition
from app.storage import translate_disk_full, write_atomic

routes = Blueprint("search", __name__)

# Longest wait for the result of a search, and the interval of the checks.
WAIT_SECONDS = 10.0
POLL_SECONDS = 0.05
# Largest number of requests of a process that wait at the same time; each occupies one of MAX_CONCURRENT_REQUESTS.
MOST_WAITING = 4
# Errors of a job that its request has caused.
CAUSED_BY_REQUEST = {kind.code for kind in (RequestError, NotAnImage, FetchError, AddressRefused)}

_waiting = threading.BoundedSemaphore(MOST_WAITING)


@dataclass(frozen=True)
class SearchForm(SearchRequest):
    """Search for an image in the documents that were embedded by the same model. An empty field selects its default."""

    image: Annotated[File | None, Field(description="A file with the image to search for.")] = None


class Match(Verified):
    """An image that resembles the searched one, which is the first image of the verification."""

    score: Annotated[float, Field(description="The cosine similarity, from -1 to 1. Higher is more similar.")]
    transposition: Annotated[Transposition, Field(description="The transformation of the searched image.")]
    document: Annotated[str, Field(description="The ID of the document that contains the match.")]
    image: Image


class Matches(TypedDict):
    """The result of a search. Matches that are verified as same or part come first, then all others by their score."""

    job_id: JobId
    model: Annotated[str, Field(description="The network that embedded the images.")]
    documents: Annotated[Count, Field(description="The number of documents that were searched.")]
    images: Annotated[Count, Field(description="The number of images that were searched.")]
    matches: list[Match]


class Found(Matches, Queued):
    """The search is done."""


FoundOrQueued = TypeAliasType("FoundOrQueued", Found | Queued)


@routes.post("/search")
@takes_body(SearchForm, [JSON, *FORMS])
@answers(FoundOrQueued, errors=[507])
def search(body: SearchForm) -> ResponseReturnValue:
    """Search for an image in your documents.

    The image is a file, the image at a URL, or an illustration of a detection job. The response contains the matches if
    the search ends within 10 seconds. Otherwise GET /jobs/{job_id}/matches returns them later.
    """
    request = SearchRequest(**{field.name: getattr(body, field.name) for field in dataclass_fields(SearchRequest)})
    request.check_image(body.image is not None)
    return jsonify(submit_search(request, None if body.image is None else body.image.read()))


@routes.get("/jobs/<job_id>/matches")
@answers(Matches)
def matches(job_id: str) -> ResponseReturnValue:
    """Return the matches of a search."""
    job = find_job_of_kind(job_id, SEARCH, "matches")
    if job.state != State.DONE:
        missing = f"Job {job_id} is {job.state}: it has no matches"
        raise NotFound(f"{missing}.") if job.finished else RequestError(f"{missing} yet; ask again when it is done.")
    return jsonify(_load_matches(job))


def submit_search(request: SearchRequest, image: bytes | None) -> Found | Queued:
    """Search, and return the answer.

    Args:
        request: Request with exactly one image, or none if ``image`` has it.
        image: File with the image; None if the request names it.

    Raises:
        RequestError: The image or the documents cannot be used.
        NoSpace: The disk is full.
    """
    check_pooling(request.model, request.pooling)
    current_services.documents.list_embedded(g.client.id, request)
    if request.job_id:
        current_services.documents.find_detection(g.client.id, "", Source(job_id=request.job_id))
    job_id = uuid.uuid4().hex
    folder = current_services.storage.job(job_id)
    try:
        if image is not None:
            with translate_disk_full():
                write_atomic(folder.query, _read_image(image))
        (job,) = current_services.jobs.submit(g.client.id, [request], job_id)
    except BaseException:
        folder.remove()
        raise
    return _answer(_wait(lambda: current_services.jobs.find(job_id), job))


def _read_image(data: bytes) -> bytes:
    """Check the format of an upload. The worker decodes it, because decoders may crash or need much memory."""
    if not find_format(data):
        raise RequestError(f"image is {describe_content(data)}: send a JPEG, PNG or TIFF file.")
    return data


def _wait(read: Callable[[], Job], job: Job) -> Job:
    """Wait for the end of a search; return the row of the job, which may be unfinished."""
    silence = current_services.heartbeats.find_silences()[RUN.queue]
    if silence is None or silence > current_services.settings.ready_seconds or not _waiting.acquire(blocking=False):
        return job
    try:
        end = time.monotonic() + WAIT_SECONDS
        while not job.finished and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            job = read()
    finally:
        _waiting.release()
    return job


def _answer(job: Job) -> Found | Queued:
    if job.state == State.FAILED and job.error_code in CAUSED_BY_REQUEST:
        raise RequestError(job.error_message or "The search failed.")
    status_url = url_for("jobs.show", job_id=job.id, _external=True)
    if job.state == State.DONE:
        found = _load_matches(job)
        count, images = len(found["matches"]), found["images"]
        what = "1 match was" if count == 1 else f"{count} matches were"
        message = f"{what} found in {images} image{'' if images == 1 else 's'}."
        return Found(**found, message=message, status_url=status_url)
    message = f"The search failed: {job.error_message}" if job.error_message else "The search is queued."
    return Queued(message=message, job_id=job.id, status_url=status_url)


def _load_matches(job: Job) -> Matches:
    try:
        data = current_services.storage.job(job.id).matches.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"The matches of job {job.id} are no longer on this server: search again.") from error
    head = {"job_id": job.id, "model": job.request["model"]}
    return cast(Matches, head | current_app.json.loads(data))
