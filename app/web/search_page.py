"""Search for an image: the form, and the matches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import flash, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.errors import RequestError
from app.jobs.job_kinds import SIMILARITY
from app.jobs.pairs import ComparisonResult
from app.jobs.requests import SearchRequest
from app.routes import search
from app.services import current_services
from app.similarity.backbones import DEFAULT_BACKBONE
from app.web.rendering import pages
from app.web.similarity_page import Side

# Comparisons whose backbones are offered.
REMEMBERED = 1000


@dataclass(frozen=True)
class FoundImage:
    """A match.

    Attributes:
        match: Match as in ``GET /jobs/<id>/matches``.
        job_id: ID of the similarity job whose cache has the image; "" if there is none any more.
        side: Image and its matched region; None without a job.
    """

    match: dict[str, Any]
    job_id: str
    side: Side | None


@pages.get("/search")
def show_search() -> ResponseReturnValue:
    """Show the form."""
    return render_template("search.html", models=list_backbones())


@pages.post("/search")
def start_search() -> ResponseReturnValue:
    """Search as ``POST /search`` does, and lead to the matches."""
    answer: Any = search.search()
    return lead_to_matches(answer.get_json())


def lead_to_matches(answer: Mapping[str, Any]) -> ResponseReturnValue:
    """Lead to the page of a search, from the answer of ``POST /search``."""
    if "matches" not in answer:
        flash(answer["message"], "done")
    return redirect(url_for("pages.show_job", job_id=answer["job_id"]))


def show_matches(job: Job, frame: dict[str, Any]) -> str:
    """Show the matches of a search."""
    found = search.matches(job_id=job.id).get_json() if job.state == "done" else None
    matches = _locate(job, found["matches"]) if found else []
    return render_template("matches.html", **frame, found=found, matches=matches)


def list_backbones() -> list[str]:
    """Return the backbones of the latest comparisons of the client app: only their documents can be searched."""
    jobs = current_services.jobs.list_recent(g.client.id, None, REMEMBERED, kind=SIMILARITY.name)
    models = dict.fromkeys(job.request["model"] for job in jobs)
    return [*models] or [DEFAULT_BACKBONE]


def _locate(job: Job, matches: list[dict[str, Any]]) -> list[FoundImage]:
    """Find the similarity job that has the image of each match."""
    try:
        embedded = current_services.documents.list_embedded(job.app_id, SearchRequest.from_json(job.request))
    except RequestError:  # the documents were forgotten meanwhile
        embedded = []
    jobs: dict[str, str] = {}
    for row in embedded:
        jobs.setdefault(row.doc_id, row.job_id)
    return [_describe(match, jobs.get(match["document"], "")) for match in matches]


def _describe(match: dict[str, Any], job_id: str) -> FoundImage:
    if not job_id:
        return FoundImage(match, "", None)
    documents = current_services.jobs.find(job_id, g.client.id).request["documents"]
    document = ComparisonResult(current_services.storage.job(job_id), documents).load_document(match["document"])
    name = match["image"]["name"]
    if document is None or name not in document.names:
        return FoundImage(match, "", None)
    size = document.sizes[document.names.index(name)]
    side = Side(document.doc_id, name, match["image"]["url"], size, match["region_2"])
    return FoundImage(match, job_id, side)
