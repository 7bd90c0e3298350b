"""One job of any kind: its state and live progress, its parts, its deliveries, and the buttons that change it."""

import time
from collections.abc import Sequence
from typing import Any

from flask import flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.jobs.description import describe_delivery
from app.jobs.job_kinds import DETECTION, SEARCH, SIMILARITY, find_kind
from app.routes import exports, jobs, results
from app.services import current_services
from app.web import detection_page, search_page, similarity_page
from app.web.job_list import build_row, describe_progress
from app.web.rendering import find_previous, pages

# The first answer has events of the parts that changed in the last seconds, later ones since the answer before.
CHANGED_SECONDS, OVERLAP_SECONDS = 60, 5


@pages.get("/jobs/<job_id>")
def show_job(job_id: str) -> ResponseReturnValue:
    """Show a job."""
    job = jobs.find_job(job_id)
    if job.kind == DETECTION.name:
        return detection_page.show_detection(job, describe_frame(job))
    if job.kind == SIMILARITY.name:
        return similarity_page.show_comparison(job, describe_frame(job))
    if job.kind == SEARCH.name:
        return search_page.show_matches(job, describe_frame(job))
    parts = _list_parts(job)
    files = results.list_files(job_id).get_json()["files"]
    return render_template("job.html", **describe_frame(job, parts), parts_of_job=[*map(build_row, parts)], files=files)


def _list_parts(job: Job) -> Sequence[Job]:
    return current_services.jobs.list_parts(job) if find_kind(job.kind).has_parts else ()


def describe_frame(job: Job, parts: Sequence[Job] = ()) -> dict[str, Any]:
    """Return what the page of every job shows."""
    deliveries = current_services.jobs.deliveries([job])[job.id]
    return {
        "job": job,
        "row": build_row(job, parts),
        "deliveries": [describe_delivery(delivery) for delivery in deliveries],
    }


@pages.get("/jobs/<job_id>/events")
def follow_job(job_id: str) -> ResponseReturnValue:
    """Return the progress of a job and of its parts as events."""
    job = jobs.find_job(job_id)
    parts = _list_parts(job)
    before = request.headers.get("Last-Event-ID", time.time() - CHANGED_SECONDS, float)
    changed = [build_row(part) for part in parts if part.updated > before - OVERLAP_SECONDS]
    return jobs.format_events(map(describe_progress, [*changed, build_row(job, parts)]))


@pages.post("/jobs/<job_id>/cancel")
def cancel_job(job_id: str) -> ResponseReturnValue:
    return _report(jobs.cancel(job_id))


@pages.post("/jobs/<job_id>/retry")
def retry_job(job_id: str) -> ResponseReturnValue:
    return _report(jobs.retry(job_id))


@pages.post("/jobs/<job_id>/redeliver")
def redeliver_job(job_id: str) -> ResponseReturnValue:
    return _report(jobs.redeliver(job_id))


@pages.post("/jobs/<job_id>/links")
def make_link(job_id: str) -> ResponseReturnValue:
    """Show the link of a job for viewers, which needs no key."""
    job = jobs.find_job(job_id)
    link: Any = exports.add_link(job_id=job_id)
    return render_template("viewer_link.html", job=job, row=build_row(job), link=link.get_json())


@pages.get("/jobs/<job_id>/files/<path:path>")
def show_job_file(job_id: str, path: str) -> ResponseReturnValue:
    return results.show_file(job_id=job_id, path=path)


def _report(answer: Any) -> ResponseReturnValue:
    """Show the message of an API view above the page that the person came from."""
    flash(answer.get_json()["message"], "done")
    return redirect(find_previous())
