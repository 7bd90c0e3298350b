"""``/jobs/<id>/scores/<a>-<b>``, ``/files``: the results of comparisons and trainings."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify, send_from_directory, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field, Strict
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict
from werkzeug.exceptions import HTTPException

from app.database.tables import Job
from app.errors import NotFound, RequestError
from app.exports.pair_tables import format_pairs
from app.jobs.job_answers import Count, JobId
from app.jobs.job_kinds import SIMILARITY
from app.jobs.pairs import ComparisonResult, Pair, PairResult, find_pairs
from app.jobs.requests.fields import FROM_TEXT
from app.jobs.requests.reading import show
from app.routes.answers import File, Files
from app.routes.jobs import find_job
from app.routes.operations import BINARY, answers, takes_query
from app.services import current_services
from app.similarity.scored_pairs import Order, format_json, list_scored, select
from app.similarity.scores import format_scores
from app.similarity.transpositions import Transposition
from app.similarity.verified_pairs import Verdict, VerifiedPair

routes = Blueprint("results", __name__)

# Not fewer than a pair of documents can have: 20,000 images with 1000 best matches each, in both directions.
MOST_PAIRS = 40_000_000

Region = Annotated[list[int], Field(min_length=4, max_length=4)]


@dataclass(frozen=True)
class ScoresQuery:
    """The query of ``GET /jobs/<id>/scores/<a>-<b>``."""

    format: Annotated[
        Literal["npy", "json", "csv"],
        Field(description="The format of the response. The other parameters need json or csv."),
    ] = "npy"
    sort: Annotated[Order, Field(description="The order, best first. Pairs without a probability come last.")] = (
        Order.SCORE
    )
    threshold: Annotated[
        float | None, Field(allow_inf_nan=False, description="The least score or probability, whichever is sorted by.")
    ] = None
    verdict: Annotated[Verdict | None, Field(description="Return only verified pairs with this verdict.")] = None
    limit: Annotated[
        int, Strict(), Field(ge=1, le=MOST_PAIRS, description="The largest number of pairs to return."), FROM_TEXT
    ] = MOST_PAIRS
    offset: Annotated[
        int, Strict(), Field(ge=0, le=MOST_PAIRS, description="The number of pairs to skip."), FROM_TEXT
    ] = 0


class Image(TypedDict):
    """An image of a document."""

    name: str
    url: str


class Verified(TypedDict):
    """The verification of two images. All fields are null if they were not verified.

    Regions and the transform are in pixels of the full-size images. An illustration of a detection job has the size of
    its box.
    """

    verdict: Annotated[Verdict | None, Field(description="Whether both images show the same printing block.")]
    probability: Annotated[float | None, Field(description="The probability that the block is the same, from 0 to 1.")]
    inliers: Annotated[Count | None, Field(description="The number of local features that agree.")]
    region_1: Annotated[Region | None, Field(description="The matched region of the first image: x, y, width, height.")]
    region_2: Annotated[
        Region | None, Field(description="The matched region of the second image: x, y, width, height.")
    ]
    transform: Annotated[
        Annotated[list[float], Field(min_length=6, max_length=6)] | None,
        Field(
            description="From pixels of the first image to pixels of the second. "
            "[a, b, c, d, e, f] is ax + by + c, dx + ey + f."
        ),
    ]


class ImagePair(Verified):
    """Two images, their similarity and their verification. The first image is image_1."""

    score: Annotated[float, Field(description="The cosine similarity, from -1 to 1. Higher is more similar.")]
    transposition: Annotated[Transposition, Field(description="The transformation of image_1 that gave the score.")]
    image_1: Image
    image_2: Image


class Scores(TypedDict):
    """The scores of two documents of a similarity job, best first."""

    job_id: JobId
    documents: Annotated[list[str], Field(description="The IDs of the documents of image_1 and of image_2.")]
    model: Annotated[str, Field(description="The network that embedded the images.")]
    total: Annotated[Count, Field(description="The number of pairs on all pages.")]
    next: Annotated[str | None, Field(description="The path of the next page; null on the last one.")]
    pairs: list[ImagePair]


@routes.get("/jobs/<job_id>/scores/<pair>")
@takes_query(ScoresQuery)
@answers(Scores, others={"application/octet-stream": BINARY, "text/csv": {"type": "string"}})
def scores(query: ScoresQuery, job_id: str, pair: str) -> ResponseReturnValue:
    """Return the scores of two documents of a similarity job.

    npy is the file that is also sent to the client app. `numpy.load` reads it as an array of strings, best match first.
    Its columns are the score and the names of the two images. JSON and CSV add the URLs, the transpositions and the
    verification. With `limit`, the header `Link` has the URL of the next page.
    """
    job = find_job(job_id)
    documents = _find_pair(job, pair)
    found = _find_scores(job, documents)
    if query.format == "npy":
        if query != ScoresQuery():
            raise RequestError("sort, threshold, verdict, limit and offset need format=json or format=csv.")
        return Response(format_scores(found.scores, found.a, found.b), mimetype="application/octet-stream")
    pairs = select(
        list_scored(found.scores, _load_verified(job, documents)), query.sort, query.threshold, query.verdict
    )
    end = query.offset + query.limit
    page = pairs[query.offset : end], found.a, found.b, job.request["transpositions"]
    following = _link_next(job.id, pair, query, end) if end < len(pairs) else None
    if query.format == "csv":
        response = Response(format_pairs(*page), mimetype="text/csv")
    else:
        head = {"job_id": job.id, "documents": [found.a.doc_id, found.b.doc_id], "model": job.request["model"]}
        response = jsonify(head | {"total": len(pairs), "next": following, "pairs": list(format_json(*page))})
    if following:
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


@routes.get("/jobs/<job_id>/files")
@answers(Files)
def list_files(job_id: str) -> ResponseReturnValue:
    """List the files of a training or an evaluation: figures, curves, images, weights."""
    folder = current_services.storage.job(find_job(job_id).id).results
    found = sorted(Path(at, name).relative_to(folder) for at, _, names in os.walk(folder) for name in names)
    whole = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    files = (_describe_file(job_id, name, folder / name) for name in whole)
    return jsonify(Files(files=[file for file in files if file]))


@routes.get("/jobs/<job_id>/files/<path:path>")
@answers(None, others={"*/*": BINARY})
def show_file(job_id: str, path: str) -> ResponseReturnValue:
    """Return a file of a training or an evaluation."""
    folder = current_services.storage.job(find_job(job_id).id).results
    missing = NotFound(f"Job {job_id} has no file {show(path)}: GET /jobs/{job_id}/files lists its files.")
    if any(part.startswith(".") for part in path.split("/")):  # a file that is being written
        raise missing
    try:
        return send_from_directory(folder, path)
    except HTTPException as error:
        raise missing from error


def _find_pair(job: Job, name: str) -> Pair:
    """Return the pair with a name. The IDs may be in either order."""
    if job.kind != SIMILARITY.name:
        raise NotFound(f"Job {job.id} is a {job.kind}: it has no scores.")
    pairs = find_pairs(name, job.request["documents"])
    if not pairs:
        raise NotFound(f"Job {job.id} has no pair of documents {show(name)}: name it as <id>-<id>.")
    if len(pairs) > 1:
        raise NotFound(f"Job {job.id} has several pairs {show(name)}: send the IDs in alphabetical order.")
    return pairs[0]


def _find_scores(job: Job, pair: Pair) -> PairResult:
    folder = current_services.storage.job(job.id)
    found = ComparisonResult(folder, job.request["documents"]).load_pair(pair)
    if found is None:
        missing = f"Job {job.id} is {job.state}: it has no scores of {show(pair[0])} and {show(pair[1])}"
        raise (NotFound if job.finished else RequestError)(missing + _advise(job))
    return found


def _load_verified(job: Job, pair: Pair) -> Sequence[VerifiedPair]:
    """Return the verified pairs of images of two documents; none if they are not verified (yet)."""
    folder = current_services.storage.job(job.id)
    found = ComparisonResult(folder, job.request["documents"]).load_verified(pair)
    return found.pairs if found else ()


def _link_next(job_id: str, pair: str, query: ScoresQuery, offset: int) -> str:
    """Return the path of the same request with another offset."""
    fields = {name: value for name, value in asdict(query).items() if value is not None}
    return url_for("results.scores", job_id=job_id, pair=pair, **fields | {"offset": offset})


def _advise(job: Job) -> str:
    """Return the ending of a "job has no …" message."""
    return "." if job.finished else " yet; ask again when it is done."


def _describe_file(job_id: str, name: str, path: Path) -> File | None:
    """Return a file of the response; None if it has disappeared because an evaluation is replacing it."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    return File(name=name, url=url_for("results.show_file", job_id=job_id, path=name), size=size)
