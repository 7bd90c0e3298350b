"""The list of all jobs, and the form that starts a detection."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.errors import RequestError
from app.jobs import State
from app.jobs.description import count_failed
from app.jobs.job_kinds import AIKON, COLLECTION, DETECTION, KINDS, SIMILARITY
from app.jobs.states import FINISHED
from app.routes import submissions
from app.routes.jobs import format_events
from app.services import current_services
from app.web.rendering import load_texts, pages, read_offset

# Jobs on a page of the list.
LISTED = 100
# Longest URL that is kept in the form after an error. Each character may take 12 in an address of 4000.
LONGEST_KEPT = 300


@dataclass(frozen=True)
class JobRow:
    """A job in the list.

    Attributes:
        job: Row of the database.
        title: Label of the manifest, the documents or the data set.
        summary: Result so far in a few words, or "".
        failed: Number of failed canvases or images.
    """

    job: Job
    title: str
    summary: str
    failed: int

    @property
    def is_finished(self) -> bool:
        return self.job.state in FINISHED


@pages.get("/jobs")
def list_jobs() -> ResponseReturnValue:
    """Show the jobs of the client app, newest first, and the form for a new one."""
    state, kind = _read_choice()
    total = current_services.jobs.count(g.client.id, state, kind)
    offset = min(read_offset(), max(total - 1, 0))
    return render_template(
        "jobs.html",
        rows=[*map(build_row, current_services.jobs.list_recent(g.client.id, state, LISTED, kind=kind, offset=offset))],
        total=total,
        offset=offset,
        step=LISTED,
        states=[*State],
        kinds=[*KINDS],
        chosen={"state": state, "kind": kind},
        models=[*current_services.models.list_weights()],
        form=request.args,
    )


def _read_choice() -> tuple[State | None, str]:
    """Return the state and the kind of jobs in the query."""
    state = request.args.get("state", "")
    kind = request.args.get("kind", "")
    return State(state) if state in [*State] else None, kind if kind in KINDS else ""


@pages.post("/jobs")
def start_detection() -> ResponseReturnValue:
    """Start a detection, or estimate it, as ``POST /run_detect`` does."""
    try:
        answer: Any = submissions.run_detect()
    except RequestError as error:
        flash(error.message, "error")
        return _keep_form()
    found = answer.get_json()
    flash(found["message"], "done")
    if "job_id" in found:
        return redirect(url_for("pages.show_job", job_id=found["job_id"]))
    return _keep_form()


def _keep_form() -> ResponseReturnValue:
    """Lead back to the form with the URL that was sent, unless it is too long for an address."""
    url = request.form.get("manifest_url", "")
    return redirect(url_for("pages.list_jobs", manifest_url=url if 0 < len(url) <= LONGEST_KEPT else None))


@pages.get("/jobs/events")
def follow_jobs() -> ResponseReturnValue:
    """Return the progress of the listed jobs as events.

    A job that has left the chosen state is among them if it is one of the newest.
    """
    state, kind = _read_choice()
    recent = partial(current_services.jobs.list_recent, g.client.id, limit=LISTED, kind=kind)
    newest = recent() if state else []
    jobs = {job.id: job for job in [*newest, *recent(state=state, offset=read_offset())]}
    return format_events([*map(describe_progress, jobs.values())])


def describe_progress(job: Job) -> dict[str, Any]:
    """Return what a page shows of the progress of a job."""
    row = build_row(job)
    names = load_texts()["states"]
    return {
        "job_id": job.id,
        "state": job.state,
        "state_name": names[job.state],
        "done": job.done,
        "total": job.total,
        "summary": row.summary or job.error_message or "",
        "failed": row.failed,
        "finished": row.is_finished,
    }


def build_row(job: Job) -> JobRow:
    return JobRow(job, name_job(job), _summarise(job), count_failed(job))


def name_job(job: Job) -> str:
    """Return the title of a job."""
    texts, request = load_texts()["jobs"], job.request
    if job.kind in (DETECTION.name, COLLECTION.name):
        return job.manifest_ref or str(request.get("manifest_url") or request.get("file_name") or "")
    if job.kind in (SIMILARITY.name, AIKON.name):
        names = [each if isinstance(each, str) else each["uid"] for each in request["documents"]]
        return " · ".join(names[:4]) + (texts["more"].format(count=len(names) - 4) if len(names) > 4 else "")
    return str(request.get("data") or request.get("dataset") or request.get("image_url") or texts["upload"])


def _summarise(job: Job) -> str:
    texts, coverage = load_texts()["jobs"], job.coverage or {}
    if job.kind == DETECTION.name and coverage:
        failed = len(coverage["failed"])
        text = str(texts["pages_found"]).format(detected=coverage["detected"], empty=coverage["empty"])
        return text + (str(texts["pages_failed"]).format(failed=failed) if failed else "")
    if job.kind == SIMILARITY.name and coverage:
        images = sum(document["usable"] for document in coverage["documents"])
        return str(texts["images_compared"]).format(images=images, documents=len(coverage["documents"]))
    return ""
