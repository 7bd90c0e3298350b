"""The form that compares the illustrations of documents."""

import re
from contextlib import suppress

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.errors import ExtractorError, NotFound, RequestError
from app.jobs import State
from app.jobs.job_kinds import DETECTION
from app.jobs.requests import SimilarityRequest, read
from app.routes.jobs import find_job
from app.routes.submissions import submit_comparison
from app.services import current_services
from app.similarity.backbones import BACKBONES
from app.web.job_list import LISTED, build_row, name_job
from app.web.rendering import load_texts, pages, read_offset
from app.web.search_page import list_backbones


@pages.get("/compare")
def show_comparison_form() -> ResponseReturnValue:
    """Show the finished detections to choose from, newest first."""
    return _show_form([])


@pages.post("/compare")
def start_comparison() -> ResponseReturnValue:
    """Start a comparison as ``POST /run_similarity`` does, or show other detections to choose from."""
    job_ids = request.form.getlist("job")
    if "offset" in request.form:
        return _show_form(job_ids)
    try:
        queued = submit_comparison(_read_request(job_ids))
    except ExtractorError as error:
        flash(error.message, "error")
        return _show_form(job_ids), error.status
    flash(queued["message"], "done")
    return redirect(url_for("pages.show_job", job_id=queued["job_id"]))


def _read_request(job_ids: list[str]) -> SimilarityRequest:
    if not job_ids:
        raise RequestError(load_texts()["compare"]["choose"])
    if len(job_ids) > LISTED:
        raise RequestError(load_texts()["compare"]["too_many"].format(most=LISTED))
    fields = {
        "documents": name_documents(job_ids),
        "model": request.form.get("model"),
        "transpositions": request.form.getlist("transpositions"),
    }
    return read(SimilarityRequest, fields)


def _show_form(job_ids: list[str]) -> str:
    """Show the form. The chosen detections stay in it, also when they are not among the listed ones."""
    chosen = [*dict.fromkeys(job_ids)][:LISTED]
    total = current_services.jobs.count(g.client.id, State.DONE, DETECTION.name)
    offset = min(read_offset(), max(total - 1, 0))
    listed = current_services.jobs.list_recent(g.client.id, State.DONE, LISTED, kind=DETECTION.name, offset=offset)
    others = []
    for job_id in chosen:
        with suppress(NotFound):  # it was removed
            others += [] if job_id in {job.id for job in listed} else [find_job(job_id)]
    # The documents of the latest comparison can then be searched together with the new ones.
    default = request.form.get("model") or list_backbones()[0]
    return render_template(
        "compare.html",
        rows=[*map(build_row, [*others, *listed])],
        chosen=chosen,
        models=[*BACKBONES],
        default=default,
        mirrored="transpositions" in request.form,
        offset=offset,
        step=LISTED,
        total=total,
    )


def name_documents(job_ids: list[str]) -> dict[str, dict[str, str]]:
    """Return the documents of a request by ID: the title of each job, made unique and safe as a name."""
    documents: dict[str, dict[str, str]] = {}
    for job_id in job_ids:
        # A hyphen separates the two IDs of a pair, so the IDs have none.
        title = re.sub(r"[^\w.]+", "_", name_job(find_job(job_id)))[:60].strip("_.") or "document"
        name, number = title, 1
        while name in documents:
            number += 1
            name = f"{title}_{number}"
        documents[name] = {"job_id": job_id}
    return documents
