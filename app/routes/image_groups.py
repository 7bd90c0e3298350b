"""``/jobs/<id>/groups``, ``/jobs/<id>/pairs/<a>/<b>.jpg``: which images of a similarity job show the same block."""

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field, Strict
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from app.database.tables import Job
from app.errors import NotFound, RequestError
from app.exports.group_manifests import format_archive
from app.exports.pair_tables import format_groups
from app.jobs.job_answers import Count, JobId
from app.jobs.job_groups import load_groups
from app.jobs.job_kinds import SIMILARITY
from app.jobs.pair_pictures import NamedImage, draw_named_pair
from app.jobs.pairs import ComparisonResult
from app.jobs.requests.fields import FROM_TEXT
from app.jobs.requests.reading import show
from app.routes.jobs import find_job_of_kind
from app.routes.operations import BINARY, answers, takes_query
from app.services import current_services

routes = Blueprint("image_groups", __name__)

MOST_GROUPS, LARGEST_OFFSET = 10_000, 10_000_000


@dataclass(frozen=True)
class GroupsQuery:
    """The query of ``GET /jobs/<id>/groups``."""

    format: Annotated[
        Literal["json", "csv", "iiif"],
        Field(description="The format of the response; iiif is a zip file with a manifest for each group."),
    ] = "json"
    limit: Annotated[
        int, Strict(), Field(ge=1, le=MOST_GROUPS, description="The largest number of groups to list."), FROM_TEXT
    ] = 1000
    offset: Annotated[
        int,
        Strict(),
        Field(ge=0, le=LARGEST_OFFSET, description="The number of groups to skip, for the next pages."),
        FROM_TEXT,
    ] = 0


@dataclass(frozen=True)
class PictureQuery:
    """The query of ``GET /jobs/<id>/pairs/<a>/<b>.jpg``."""

    image_1: Annotated[str, Field(description="The name of an image of document a.")]
    image_2: Annotated[str, Field(description="The name of an image of document b.")]


Region = Annotated[
    list[int],
    Field(
        min_length=4,
        max_length=4,
        description="Left, top, width and height of the matched region, in pixels of the full-size image.",
    ),
]


class GroupPartner(TypedDict):
    """An image of a group that another one was matched with."""

    document: Annotated[str, Field(description="The ID of the document.")]
    name: Annotated[str, Field(description="The name of the image.")]


class GroupMember(GroupPartner):
    """An image of a group, with its match to one other image of the group."""

    url: Annotated[str, Field(description="The URL of the image.")]
    partner: Annotated[
        GroupPartner,
        Field(description="The representative, or the image that links this one to it; see the manual."),
    ]
    region: Annotated[Region | None, Field(description="The region that the partner also shows.")]
    verdict: Annotated[Literal["same", "part"], Field(description="The verdict on the image and its partner.")]
    probability: Annotated[float, Field(description="The probability that both show the same block, from 0 to 1.")]
    picture: Annotated[str, Field(description="The path of a picture of the image and its partner, on this server.")]


class ImageGroup(TypedDict):
    """Images that show the same block."""

    group: Annotated[Count, Field(description="The number of the group, from 1. Larger groups come first.")]
    size: Annotated[Count, Field(description="The number of images.")]
    documents: Annotated[list[str], Field(description="The IDs of the documents of the images.")]
    related: Annotated[
        list[int], Field(description="The numbers of groups with single links to this one, for a closer look.")
    ]
    members: Annotated[
        list[GroupMember], Field(description="The images; the first one is the representative, with the most matches.")
    ]


class Groups(TypedDict):
    """The groups of images of a similarity job that show the same block, largest first."""

    job_id: JobId
    total: Annotated[Count, Field(description="The number of all groups; the answer contains one page of them.")]
    next: Annotated[str | None, Field(description="The path of the next page; null on the last page.")]
    groups: list[ImageGroup]


@routes.get("/jobs/<job_id>/groups")
@takes_query(GroupsQuery)
@answers(Groups, others={"text/csv": {"type": "string"}, "application/zip": BINARY})
def groups(query: GroupsQuery, job_id: str) -> ResponseReturnValue:
    """List the groups of images that show the same block, over all documents of a similarity job.

    The largest group comes first. CSV has a row for each image. `iiif` has a manifest for each group, with a
    canvas for each image. The header `Link` has the URL of the next page.
    """
    job = find_job_of_kind(job_id, SIMILARITY, "groups")
    found = list_groups(job)
    end, following = query.offset + query.limit, None
    page = found[query.offset : end]
    if end < len(found):
        following = url_for("image_groups.groups", job_id=job.id, format=query.format, limit=query.limit, offset=end)
    if query.format == "csv":
        response = Response(format_groups(page), mimetype="text/csv")
    elif query.format == "iiif":
        address = url_for("jobs.show", job_id=job.id, _external=True)
        response = Response(format_archive(page, _load_sizes(job), address), mimetype="application/zip")
    else:
        for group in page:
            for member in group["members"]:
                member["picture"] = _build_picture_url(job.id, member)
        response = jsonify({"job_id": job.id, "total": len(found), "next": following, "groups": page})
    if following:
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


@routes.get("/jobs/<job_id>/pairs/<a>/<b>.jpg")
@takes_query(PictureQuery)
@answers(None, others={"image/jpeg": BINARY})
def show_pair(query: PictureQuery, job_id: str, a: str, b: str) -> ResponseReturnValue:
    """Draw two images of a similarity job next to each other, with their matched regions.

    Lines join corresponding points. The caption has the verdict and its probability. The images may belong to the same
    document. Groups contain the URLs of such pictures.
    """
    job = find_job_of_kind(job_id, SIMILARITY, "pairs of images")
    documents = job.request["documents"]
    for doc_id in (a, b):
        if doc_id not in documents:
            raise NotFound(f"Job {job.id} has no document {show(doc_id)}.")
    images = NamedImage(a, query.image_1), NamedImage(b, query.image_2)
    storage = current_services.storage
    result = ComparisonResult(storage.job(job.id), documents)
    return Response(draw_named_pair(storage, result, *images), mimetype="image/jpeg")


def list_groups(job: Job) -> list[dict[str, Any]]:
    """Return all groups of a similarity job, without the URLs of their pictures.

    Raises:
        NotFound: The job has no groups.
        RequestError: It has none yet.
    """
    if not job.finished:
        raise RequestError(f"Job {job.id} is {job.state}: it has no groups yet; ask again when it is done.")
    found = load_groups(current_services.storage.job(job.id), job.request["documents"])
    if found is None:
        raise NotFound(
            f"Job {job.id} is {job.state}: it has no verified pairs; compare its documents again with `verify`."
        )
    return found


def _load_sizes(job: Job) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the sizes of the images of a job, by document ID and name."""
    result = ComparisonResult(current_services.storage.job(job.id), job.request["documents"])
    found = (result.load_document(doc_id) for doc_id in job.request["documents"])
    return {
        (document.doc_id, name): (width, height)
        for document in found
        if document
        for name, (width, height) in zip(document.names, document.sizes, strict=False)
    }


def _build_picture_url(job_id: str, member: dict[str, Any]) -> str:
    """Return the URL of the picture of a member and its partner."""
    partner = member["partner"]
    documents, names = (member["document"], partner["document"]), (member["name"], partner["name"])
    return url_for(
        "image_groups.show_pair",
        job_id=job_id,
        a=documents[0],
        b=documents[1],
        image_1=names[0],
        image_2=names[1],
    )
