"""The form that compares the illustrations of documents."""

import re

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.errors import RequestError
from app.jobs import SimilarityRequest, State
from app.jobs.job_kinds import DETECTION
from app.jobs.requests import read
from app.routes.jobs import find_job
from app.routes.submissions import submit_comparison
from app.services import current_services
from app.similarity.backbones import BACKBONES
from app.web.job_list import LISTED, build_row, name_job
from app.web.rendering import load_texts, pages
from app.web.search_page import list_backbones


@pages.get("/compare")
def show_comparison_form() -> ResponseReturnValue:
    """Show the finished detections to choose from."""
    jobs = current_services.jobs.list_recent(g.client.id, State.DONE, LISTED, kind=DETECTION.name)
    rows = [*map(build_row, jobs)]
    # The documents of the latest comparison can then be searched together with the new ones.
    return render_template("compare.html", rows=rows, models=[*BACKBONES], default=list_backbones()[0])


@pages.post("/compare")
def start_comparison() -> ResponseReturnValue:
    """Start a comparison as ``POST /run_similarity`` does."""
    job_ids = request.form.getlist("job")
    if not job_ids:
        raise RequestError(load_texts()["compare"]["choose"])
    if len(job_ids) > LISTED:
        raise RequestError(load_texts()["compare"]["too_many"].format(most=LISTED))
    fields = {
        "documents": name_documents(job_ids),
        "model": request.form.get("model"),
        "transpositions": request.form.getlist("transpositions"),
    }
    queued = submit_comparison(read(SimilarityRequest, fields))
    flash(queued["message"], "done")
    return redirect(url_for("pages.show_job", job_id=queued["job_id"]))


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
