"""The parts of a collection: a job for each of its manifests."""

import uuid
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import select

from app.database.tables import Job
from app.delivery.kinds import Kind
from app.errors import ClaimLost, RequestError
from app.jobs.requests import DetectionRequest
from app.jobs.states import State
from app.jobs.store import JobStore, build_ending, build_job, update_job


class Parts:
    """The jobs of the manifests of collections.

    Args:
        jobs: Where jobs are.
    """

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs

    def list(self, job: Job) -> Sequence[Job]:
        """Return the jobs of a collection's manifests, in its order."""
        with self._jobs.database.session() as session:
            return session.scalars(select(Job).where(Job.parent_id == job.id).order_by(Job.created)).all()

    def split(self, job: Job, parts: Sequence[DetectionRequest], refused: Mapping[str, str]) -> None:
        """Make a job of each manifest of a collection. Doing it again adds none twice.

        Args:
            job: Of the collection, as it was claimed.
            parts: A request for each manifest.
            refused: The addresses that cannot be used, each with the reason: they are jobs that have failed.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it; then no part is made.
        """
        jobs = [build_job(_name_part(job, part.manifest_url), job.app_id, part, job.id) for part in parts]
        total = len(parts) + len(refused)
        with self._jobs.database.session() as session:
            if not update_job(session, job.id, Job.claim == job.claim, kind="collection", done=total, total=total):
                raise ClaimLost(f"Job {job.id} is no longer this worker's.")
            there = set(session.scalars(select(Job.id).where(Job.parent_id == job.id)))
            new = [part for part in jobs if part.id not in there]
            session.add_all(new)
            bad = [each for each in _build_refused(job, refused) if each.id not in there]
            session.add_all(bad)
            session.flush()
            for each in bad:
                self._jobs.announcements.announce(session, Kind.FAILED, each.id)
        self._jobs.send_all(new)

    def retry(self, job: Job) -> int:
        """Queue again what failed or was cancelled in a collection that has been expanded; return how many jobs.

        Raises:
            BrokerUnavailable: One could not be queued, nor those after it; they are as they were.
        """
        again = sum(self._jobs.retry(part) for part in self.list(job) if _can_be_retried(part))
        if again:  # the collection itself has nothing left to do, however it ended
            ending = build_ending(State.DONE, error_code=None, error_message=None)
            self._jobs.change(job.id, Job.state.in_((State.FAILED, State.CANCELLED)), **ending)
        return again


def _can_be_retried(part: Job) -> bool:
    """Tell whether something failed in a part, or it was cancelled. An address that cannot be used stays so."""
    if part.state == State.DONE:
        return bool(part.coverage and part.coverage["failed"])
    return part.finished is not None and part.error_code != RequestError.code


def _name_part(job: Job, url: str) -> str:
    """Return the id of the job of a collection's manifest: always the same, so that it is made once."""
    return uuid.uuid5(uuid.UUID(job.id), url).hex


def _build_refused(job: Job, refused: Mapping[str, str]) -> Iterator[Job]:
    for url, reason in refused.items():
        ending = build_ending(State.FAILED, error_code=RequestError.code, error_message=reason)
        request = job.request | {"manifest_url": url[:200]}
        yield Job(
            id=_name_part(job, url), app_id=job.app_id, kind="detection", request=request, parent_id=job.id, **ending
        )
