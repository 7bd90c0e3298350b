"""The pairs of images of a similarity job, two images laid over each other, and the groups."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.errors import NotFound, RequestError
from app.exports.pair_tables import format_groups
from app.jobs.job_kinds import SIMILARITY
from app.jobs.pair_pictures import NamedImage, find_verified, invert
from app.jobs.pairs import ComparisonResult, Pair, find_pairs, list_pairs, name_pair
from app.jobs.requests.similarity_request import Source
from app.routes import image_groups, results
from app.routes.jobs import find_job_of_kind
from app.services import current_services
from app.similarity.scored_pairs import Order, ScoredPair, list_scored, select
from app.similarity.scores import ComparedDocument
from app.similarity.verified_pairs import SAME_BLOCK, Region, Verdict, Verification
from app.web.job_list import build_row
from app.web.page_cells import list_cells
from app.web.rendering import pages, read_offset, send_as

SHOWN_PAIRS, SHOWN_GROUPS, SHOWN_MEMBERS = 30, 20, 60
# The matrix of documents is left out for more documents: it would be too large to read.
MOST_IN_MATRIX = 30

# The end of the name of an illustration.
_CROP = re.compile(r"_\d+,\d+,\d+,\d+$")


@dataclass(frozen=True)
class Side:
    """An image of a pair: its document, name and address, its full size in pixels, and the matched region."""

    document: str
    name: str
    url: str
    size: Sequence[int]
    region: Region | None


@dataclass(frozen=True)
class PairCard:
    """A pair of images with its score and its verification."""

    sides: tuple[Side, Side]
    score: float
    transposition: str
    found: Verification | None


@dataclass(frozen=True)
class MatrixRow:
    """A document, and the number of verified pairs with each document; None where the pair is below the diagonal."""

    document: str
    counts: Sequence[tuple[str, int | None]]


def show_comparison(job: Job, frame: dict[str, Any]) -> str:
    """Show a similarity job: its documents, and the best pairs of two of them."""
    documents = job.request["documents"]
    result = ComparisonResult(current_services.storage.job(job.id), documents)
    pair = _choose_pair(job)
    cards, total = _list_cards(job, result, pair) if pair else ([], 0)
    return render_template(
        "similarity.html",
        **frame,
        documents=[*documents],
        matrix=[*_build_matrix(result, sorted(documents))] if len(documents) <= MOST_IN_MATRIX else [],
        pair=pair,
        cards=cards,
        total=total,
        step=SHOWN_PAIRS,
        offset=read_offset(),
        verdicts=[*Verdict],
        chosen={name: request.args.get(name, "") for name in ("verdict", "sort")} | {"least": _read_least()},
    )


@pages.get("/jobs/<job_id>/groups")
def show_groups(job_id: str) -> ResponseReturnValue:
    """Show the groups of images that show the same block, as contact sheets."""
    job = _find_comparison(job_id)
    groups = image_groups.list_groups(job)
    if request.args.get("format") == "csv":
        return send_as(Response(format_groups(groups), mimetype="text/csv"), "groups.csv")
    offset = read_offset()
    return render_template(
        "groups.html",
        job=job,
        row=build_row(job),
        groups=groups[offset : offset + SHOWN_GROUPS],
        total=len(groups),
        offset=offset,
        step=SHOWN_GROUPS,
        most=SHOWN_MEMBERS,
    )


@pages.get("/jobs/<job_id>/pair")
def show_pair_of_images(job_id: str) -> ResponseReturnValue:
    """Show two images next to each other, and laid over each other."""
    job = _find_comparison(job_id)
    result = ComparisonResult(current_services.storage.job(job.id), job.request["documents"])
    first, second = read_image("1", job), read_image("2", job)
    found = find_verified(result, first, second)
    regions = (found.region_1, found.region_2) if found else (None, None)
    sides = [_find_side(result, image, region) for image, region in zip((first, second), regions, strict=True)]
    matrix = invert(found.transform) if found and found.transform else None
    return render_template(
        "pair.html",
        job=job,
        row=build_row(job),
        card=PairCard((sides[0], sides[1]), 0.0, "", found),
        matrix=matrix and " ".join(f"{matrix[place] + 0.0:.6g}" for place in (0, 3, 1, 4, 2, 5)),
    )


@pages.get("/jobs/<job_id>/scores/<pair>")
def download_scores(job_id: str, pair: str) -> ResponseReturnValue:
    """Return the scores of two documents, as ``GET /jobs/<id>/scores/<pair>`` does."""
    response: Any = results.scores(job_id=job_id, pair=pair)
    return send_as(response, f"{pair}.{request.args.get('format') or 'npy'}")


@pages.get("/jobs/<job_id>/source")
def show_source(job_id: str) -> ResponseReturnValue:
    """Lead to the page that an image was cut from, if a detection job has it, else to the large image."""
    job = _find_comparison(job_id)
    image = read_image("", job)
    source = job.request["documents"][image.doc_id]
    try:
        named = Source(**{name: source[name] for name in ("job_id", "manifest_url") if name in source})
        detection = current_services.documents.find_detection(job.app_id, image.doc_id, named)
    except RequestError:  # the document is no detection, or was removed
        cells = []
    else:
        cells = list_cells(detection)
    names = {image.name, _CROP.sub("", image.name)}  # a page, or {page}_{x},{y},{w},{h}
    for page in (cell.page for cell in cells if cell.page):
        if names & {page.image_name, PurePosixPath(page.image_name).stem}:
            return redirect(url_for("pages.show_page_of_job", job_id=detection.id, number=page.number))
    return redirect(url_for("pages.show_image", job_id=job.id, document=image.doc_id, image=image.name, size="large"))


def _find_comparison(job_id: str) -> Job:
    return find_job_of_kind(job_id, SIMILARITY, "pairs of images")


def _choose_pair(job: Job) -> Pair | None:
    """Return the pair of documents of the query, else the first pair of two different documents."""
    documents = job.request["documents"]
    name = request.args.get("pair")
    if not name and "one" in request.args:  # the two lists of a form
        name = name_pair((request.args["one"], request.args.get("other", "")))
    if name:
        return next(iter(find_pairs(name, documents)), None)
    pairs = [*list_pairs(documents)]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])


def _list_cards(job: Job, result: ComparisonResult, pair: Pair) -> tuple[list[PairCard], int]:
    """Return the pairs of images on this page, and the number of all."""
    found = result.load_pair(pair)
    if found is None:
        return [], 0
    verified = result.load_verified(pair)
    scored = list_scored(found.scores, verified.pairs if verified else ())
    verdict, sort = request.args.get("verdict", ""), request.args.get("sort", "")
    order = Order(sort) if sort in [*Order] else (Order.PROBABILITY if verified else Order.SCORE)
    chosen = select(scored, order, _read_least(), Verdict(verdict) if verdict in [*Verdict] else None)
    offset = read_offset()
    transpositions = job.request["transpositions"]
    shown = chosen[offset : offset + SHOWN_PAIRS]
    return [_build_card(each, found.a, found.b, transpositions) for each in shown], len(chosen)


def _build_card(pair: ScoredPair, a: ComparedDocument, b: ComparedDocument, transpositions: Sequence[str]) -> PairCard:
    found = pair.verification
    sides = (
        _build_side(a, pair.first, found.region_1 if found else None),
        _build_side(b, pair.second, found.region_2 if found else None),
    )
    return PairCard(sides, pair.score, transpositions[pair.transposition], found)


def _build_side(document: ComparedDocument, place: int, region: Region | None) -> Side:
    return Side(document.doc_id, document.names[place], document.urls[place], document.sizes[place], region)


def _find_side(result: ComparisonResult, image: NamedImage, region: Region | None) -> Side:
    document = result.load_document(image.doc_id)
    if document is None or image.name not in document.names:
        raise NotFound(f"The job has no compared image {image.name[:80]!r}.")
    return _build_side(document, document.names.index(image.name), region)


def _read_least() -> float | None:
    """Return the least probability or score in the query; None if it has none."""
    return request.args.get("least", None, float)


def _build_matrix(result: ComparisonResult, documents: Sequence[str]) -> Iterable[MatrixRow]:
    """Yield a row for each document: the number of pairs of images that show the same block."""
    counts = result.count_verified(SAME_BLOCK)
    for one in documents:
        row = [(other, counts.get((one, other), 0) if one <= other else None) for other in documents]
        yield MatrixRow(one, row)


def read_image(number: str, job: Job) -> NamedImage:
    """Return an image of the query: its fields ``document`` and ``image``, followed by a number."""
    image = NamedImage(request.args.get(f"document{number}", ""), request.args.get(f"image{number}", ""))
    if image.doc_id not in job.request["documents"]:
        raise RequestError(f"document{number}: the job has no document {image.doc_id[:80]!r}.")
    return image
