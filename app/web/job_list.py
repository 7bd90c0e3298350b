"""The list of all jobs, and the form that starts a detection."""

from collections import Counter
from collections.abc import Sequence
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
from app.jobs.rows import can_be_retried
from app.jobs.states import FINISHED
from app.routes import submissions
from app.routes.jobs import format_events
from app.services import current_services
from app.web.rendering import format_amount, load_texts, pages, read_offset

# Jobs on a page of the list.
LISTED = 100
# Longest field that is kept in the form after an error. Each character may take 12 in an address of 4000.
LONGEST_KEPT = 300


@dataclass(frozen=True)
class JobRow:
    """A job in the list.

    Attributes:
        job: Row of the database.
        title: Label of the manifest, the documents or the data set.
        summary: Result so far in a few words, or "".
        failed: Number of failed canvases or images, or of parts to retry.
        parts: Parts of a collection or a task, where the page shows them.
    """

    job: Job
    title: str
    summary: str
    failed: int
    parts: Sequence[Job] = ()

    @property
    def state(self) -> str:
        """The state of the job. A job with unfinished parts is running, although its own work is done."""
        return self.job.state if all(part.finished for part in self.parts) else State.RUNNING

    @property
    def done(self) -> int:
        return sum(part.finished is not None for part in self.parts) if self.parts else self.job.done

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def can_retry(self) -> bool:
        return self.job.finished is not None and (self.failed > 0 or self.job.state != State.DONE)


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
    """Lead back to the form with the fields that were sent, unless they are too long for an address."""
    sent = {name: request.form.get(name, "") for name in ("manifest_url", "model", "tiles")}
    kept: dict[str, Any] = {name: value for name, value in sent.items() if 0 < len(value) <= LONGEST_KEPT}
    return redirect(url_for("pages.list_jobs", **kept))


@pages.get("/jobs/events")
def follow_jobs() -> ResponseReturnValue:
    """Return the progress of the listed jobs as events.

    A job that has left the chosen state is among them if it is one of the newest.
    """
    state, kind = _read_choice()
    recent = partial(current_services.jobs.list_recent, g.client.id, limit=LISTED, kind=kind)
    newest = recent() if state else []
    jobs = {job.id: job for job in [*newest, *recent(state=state, offset=read_offset())]}
    return format_events([describe_progress(build_row(job)) for job in jobs.values()])


def describe_progress(row: JobRow) -> dict[str, Any]:
    """Return what a page shows of the progress of a job."""
    job, names = row.job, load_texts()["states"]
    return {
        "job_id": job.id,
        "state": row.state,
        "state_name": names[row.state],
        "done": row.done,
        "total": job.total,
        "summary": row.summary or job.error_message or "",
        "failed": row.failed,
        "finished": row.is_finished,
    }


def build_row(job: Job, parts: Sequence[Job] = ()) -> JobRow:
    """Return the row of a job, and what its parts have done so far."""
    failed = count_failed(job) + sum(map(can_be_retried, parts))
    return JobRow(job, name_job(job), _summarise(job, parts), failed, parts)


def name_job(job: Job) -> str:
    """Return the title of a job."""
    texts, request = load_texts()["jobs"], job.request
    if job.kind in (DETECTION.name, COLLECTION.name):
        return job.manifest_ref or str(request.get("manifest_url") or request.get("file_name") or "")
    if job.kind in (SIMILARITY.name, AIKON.name):
        names = [each if isinstance(each, str) else each["uid"] for each in request["documents"]]
        return " · ".join(names[:4]) + (texts["more"].format(count=len(names) - 4) if len(names) > 4 else "")
    return str(request.get("data") or request.get("dataset") or request.get("image_url") or texts["upload"])


def _summarise(job: Job, parts: Sequence[Job]) -> str:
    texts, nouns, coverage = load_texts()["jobs"], load_texts()["site"]["nouns"], job.coverage or {}
    text, failed = "", 0
    if parts:
        states = Counter(part.state for part in parts)
        failed = states[State.FAILED]
        text = str(texts["parts_done"]).format(done=states[State.DONE], total=len(parts))
    elif job.kind == DETECTION.name and coverage:
        failed = len(coverage["failed"])
        pages_found = format_amount(coverage["detected"], nouns["page"])
        text = str(texts["pages_found"]).format(detected=pages_found, empty=coverage["empty"])
    elif job.kind == SIMILARITY.name and coverage:
        images = format_amount(sum(document["usable"] for document in coverage["documents"]), nouns["image"])
        documents = format_amount(len(coverage["documents"]), nouns["document"])
        text = str(texts["images_compared"]).format(images=images, documents=documents)
    return text + (str(texts["failed"]).format(failed=failed) if failed else "")
