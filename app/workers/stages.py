"""The work of a kind of job at each of the three stages in ``app/jobs/states.py``.

A module of stages joins the settings and stores of a worker to the order of work in ``pipelines``. The registry
(``app/jobs/job_kinds.py``) names the module of each kind. It is imported inside the tasks, as the pipelines are; what
needs torch is imported inside ``run``.
"""

from typing import Protocol, cast

from app.database.tables import Job
from app.jobs import State
from app.jobs.job_kinds import find_kind
from app.services import Services


class Stages(Protocol):
    """A module of stages. Each function returns the state that follows, or None for the usual one."""

    def download(self, services: Services, job: Job) -> State | None:
        """Fetch the manifest, the lists or the data set, and the images."""

    def run(self, services: Services, job: Job) -> State | None:
        """Run the model on the images."""

    def deliver(self, services: Services, job: Job) -> State | None:
        """Put the result in the outbox: a client app that hangs never delays a job."""


def choose_stages(job: Job) -> Stages:
    """Return the stages of a job's kind."""
    return cast(Stages, find_kind(job.kind).load_stages())
