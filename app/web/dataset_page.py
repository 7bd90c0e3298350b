"""The data sets: their pages, a form that starts a training, and the figures of weights on their held-out pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import flash, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from app.database.tables import Job
from app.jobs.job_kinds import EVALUATION, TRAINING
from app.routes import submissions, uploads
from app.services import current_services
from app.web.rendering import pages

DEFAULT_EPOCHS = 30
# The split that a training evaluates on.
HELD_OUT = "val"
# Number of newest trainings, and of newest evaluations, that are searched for a data set.
REMEMBERED = 1000


@dataclass(frozen=True)
class Row:
    """The figures of weights on the held-out pages of a data set.

    Attributes:
        job: Training or evaluation.
        weights: Name of the weights.
        figures: Figures over all classes; empty while there are none.
    """

    job: Job
    weights: str
    figures: Mapping[str, Any]


@pages.get("/datasets")
def list_datasets() -> ResponseReturnValue:
    """Show the data sets of the client app."""
    answer: Any = uploads.list_datasets()
    datasets, services = answer.get_json()["datasets"], current_services
    recent = partial(services.jobs.list_recent, g.client.id, None, REMEMBERED)
    jobs = sorted([*recent(kind=TRAINING.name), *recent(kind=EVALUATION.name)], key=lambda job: -job.created)
    rows = {each["name"]: [row for job in jobs for row in _list_rows(job, each["name"])] for each in datasets}
    return render_template(
        "datasets.html",
        datasets=datasets,
        rows=rows,
        models=[*services.models.list_weights()],
        epochs=DEFAULT_EPOCHS,
    )


@pages.post("/datasets/train")
def start_training() -> ResponseReturnValue:
    """Start a training as ``POST /train-model`` does."""
    answer: Any = submissions.train_model()
    flash(answer.get_json()["message"], "done")
    return redirect(url_for("pages.show_job", job_id=answer.get_json()["job_id"]))


def _list_rows(job: Job, dataset: str) -> list[Row]:
    """Return the figures of a job on the held-out pages of a data set, before and after a training."""
    learned = job.coverage or {}
    found = learned.get("figures") or {}
    if job.kind == TRAINING.name and job.request["data"] == dataset:
        weights = learned.get("weights") or job.request["name"] or job.id[:8]
        rows = [Row(job, weights, found.get(HELD_OUT, {}).get("overall", {}))]
        if before := learned.get("figures_before"):
            rows.append(Row(job, job.model_label or job.request["model"], before[HELD_OUT]["overall"]))
        return rows
    is_evaluation = job.kind == EVALUATION.name and job.request["dataset"] == dataset
    return (
        [Row(job, job.request["model"], found.get("overall", {}))]
        if is_evaluation and job.request["split"] == HELD_OUT
        else []
    )
