"""The stages of a job, by its kind: each joins settings and stores of a worker to the order of work in ``pipelines``.

``download``, ``run`` and ``deliver`` are the work of the three stages in ``app/jobs/states.py``. Imported inside the
tasks, as the pipelines are; what needs torch is imported inside ``run``.
"""

from typing import Protocol

from app.database.tables import Job
from app.jobs import EvaluationRequest, SimilarityRequest, State, TrainingRequest
from app.services import Services


class Stages(Protocol):
    """What a worker does at each stage of a kind of job; returns the state that follows, None for the usual one."""

    def download(self, services: Services, job: Job) -> State | None:
        """Fetch what the job is about, and its images."""

    def run(self, services: Services, job: Job) -> State | None:
        """Look at the images."""

    def deliver(self, services: Services, job: Job) -> State | None:
        """Put the result in the outbox: a client app that hangs holds up no job."""


def choose_stages(job: Job) -> Stages:
    """Return the stages of a job's kind."""
    from app.workers import detection_stages, evaluation_stages, similarity_stages, training_stages

    kinds: dict[str, Stages] = {
        SimilarityRequest.kind: similarity_stages,
        TrainingRequest.kind: training_stages,
        EvaluationRequest.kind: evaluation_stages,
    }
    return kinds.get(job.kind, detection_stages)
