"""Changes of jobs by their client apps. The changes by workers are in the base class, in ``leases.py``."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, update

from app.database.tables import Attempt, Delivery, Document, Job
from app.delivery.kinds import Kind, Status
from app.errors import LeaseLost
from app.jobs.job_kinds import COLLECTION, REPORTING
from app.jobs.leases import Leases
from app.jobs.queries import has_expired
from app.jobs.requests import DetectionRequest, Request
from app.jobs.rows import (
    build_ending,
    build_job,
    build_part_id,
    build_parts,
    can_be_retried,
    reschedule_results,
    update_job,
)
from app.jobs.states import DELIVER, DOWNLOAD, FINISHED, RUN, UNFINISHED, State


class Jobs(Leases):
    """The jobs of this service. Every change of a row is one method of this class."""

    def submit(self, app_id: int, requests: Sequence[Request], job_id: str = "") -> list[Job]:
        """Add a job for each request, in one transaction, and wake the workers.

        Args:
            app_id: ID of the client app.
            requests: Requests of the jobs.
            job_id: ID of the only job, if the caller has stored a file under it.
        """
        jobs = [build_job(job_id or uuid.uuid4().hex, app_id, request) for request in requests]
        with self.database.session() as session:
            session.add_all(jobs)
        self._wake(requests)
        return jobs

    def submit_parts(self, app_id: int, whole: Request, parts: Mapping[str, Request]) -> Job:
        """Add a job that consists of its parts, and a job for each part, in one transaction; wake the workers.

        Args:
            app_id: ID of the client app.
            whole: Request of the job. The job is done at once.
            parts: Requests of the parts, each by a name that is unique among them.
        """
        job = build_job(uuid.uuid4().hex, app_id, whole)
        for name, value in build_ending(State.DONE, done=len(parts), total=len(parts)).items():
            setattr(job, name, value)
        rows = [build_job(build_part_id(job.id, name), app_id, request, job.id) for name, request in parts.items()]
        with self.database.session() as session:
            session.add_all([job, *rows])
        self._wake(parts.values())
        return job

    def _wake(self, requests: Iterable[Request]) -> None:
        """Wake a worker of the first stage of each new job."""
        for stage, count in Counter(DOWNLOAD if each.needs_download else RUN for each in requests).items():
            self._queue.wake(stage, count)

    def cancel(self, job: Job, notify: bool = True) -> int:
        """Cancel an unfinished job, or the unfinished parts of a job; return the number of cancelled jobs.

        A running stage stops at its next heartbeat or progress report. Pending deliveries are cancelled.

        Args:
            job: Job to cancel.
            notify: Whether to send events. A client app that expects none has its pending events cancelled, too.
        """
        ending = build_ending(State.CANCELLED, updated=time.time())
        end = update(Job).where(Job.state.in_(UNFINISHED)).values(**ending).returning(Job.id)
        with self.database.session() as session:
            # The collection first, so that no part can be added after the parts are selected.
            cancelled = [*session.scalars(end.where(Job.id == job.id))]
            cancelled += session.scalars(end.where(Job.parent_id == job.id))
            quiet = cancelled if notify else [*cancelled, job.id]
            pending = Delivery.job_id.in_(quiet) & (Delivery.status == Status.PENDING)
            session.execute(update(Delivery).where(pending).values(status=Status.CANCELLED, next_attempt=None))
            enqueued = [notify and self._events.enqueue(session, Kind.CANCELLED, job_id) for job_id in cancelled]
        if any(enqueued):
            self._queue.wake(DELIVER)
        return len(cancelled)

    def retry(self, job: Job) -> bool:
        """Put a finished job back in the queue of its first stage; return False if the row has changed since ``job``.

        The stages skip what is done, and repeat the failed parts. Pending deliveries of the earlier result are held
        back until the job ends again.
        """
        values: dict[str, Any] = {"state": State.QUEUED, "retries": job.retries + 1, "finished": None, "done": 0}
        values |= {"error_code": None, "error_message": None, "waiting_since": time.time()}
        values |= {"starts": 0, "tries": 0, "worked": 0.0}
        with self.database.session() as session:
            if not update_job(session, job.id, (Job.state == job.state) & (Job.retries == job.retries), **values):
                return False
            reschedule_results(session, job.id, None)
            whole = (Job.id == job.parent_id) & Job.kind.in_(REPORTING)  # its end is reported again
            session.execute(update(Job).where(whole).values(retries=Job.retries + 1))
        self._queue.wake(DOWNLOAD)
        return True

    def retry_parts(self, job: Job) -> int:
        """Retry the parts of a job that failed, were cancelled, or have failed canvases; return their number."""
        again = sum(self.retry(part) for part in self.list_parts(job) if can_be_retried(part))
        if again:  # the job itself has nothing left to do
            ending = build_ending(State.DONE, error_code=None, error_message=None)
            self._change(job.id, Job.state.in_((State.FAILED, State.CANCELLED)), **ending)
        return again

    def remove(self, job_id: str, discard: Callable[[str], None], before: float | None = None) -> bool:
        """Remove a finished job with its deliveries and documents; return whether it could be removed.

        The files are moved before the row is deleted, so a crash leaves no files whose job is unknown.

        Args:
            job_id: ID of the job.
            discard: Called with the ID to move the files of the job away, while nobody can retry it.
            before: Time before which the job must have expired; None if it must only be finished.
        """
        condition = Job.state.in_(FINISHED) if before is None else has_expired(before)
        with self.database.session() as session:
            if not update_job(session, job_id, condition, touch=False, updated=Job.updated):  # locks the row
                return False
            session.execute(
                delete(Attempt).where(Attempt.delivery_id.in_(select(Delivery.id).where(Delivery.job_id == job_id)))
            )
            session.execute(delete(Delivery).where(Delivery.job_id == job_id))
            session.execute(delete(Document).where(Document.job_id == job_id))
            session.execute(delete(Job).where(Job.id == job_id))
            discard(job_id)
        return True

    def expand(self, job: Job, parts: Sequence[DetectionRequest], refused: Mapping[str, str]) -> None:
        """Add a job for each manifest of a collection. A repeated call adds no duplicates.

        Args:
            job: Leased job of the collection.
            parts: Requests of the manifests.
            refused: Reason for each unusable URL. Each becomes a failed job.
        """
        total = len(parts) + len(refused)
        with self.database.session() as session:
            if not update_job(session, job.id, Job.lease == job.lease, kind=COLLECTION.name, done=total, total=total):
                raise LeaseLost(f"Job {job.id} is no longer leased by this worker.")
            existing = set(session.scalars(select(Job.id).where(Job.parent_id == job.id)))
            new = [part for part in build_parts(job, parts, refused) if part.id not in existing]
            session.add_all(new)
            session.flush()
            failed = [part for part in new if part.state == State.FAILED]
            enqueued = [self._events.enqueue(session, Kind.FAILED, part.id) for part in failed]
        self._queue.wake(DOWNLOAD, len(new) - len(failed))
        if any(enqueued):
            self._queue.wake(DELIVER)
