"""The store of jobs: their rows in the database, their ids on the queues. For the routes; see ``claims`` for stages."""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from app.database import Database, Delivery, Job
from app.errors import BrokerUnavailable, NotFound
from app.jobs.requests import DetectionRequest
from app.jobs.states import DOWNLOAD, UNFINISHED, Stage, State, stage_of

_LONGEST_HOST = 300
Send = Callable[[Stage, str], None]


class JobStore:
    """Jobs in the database, and their ids on the queues. Every change of a row is one atomic statement.

    Args:
        database: Where the rows are.
        send: Puts the id of a job on the queue of a stage; raises ``BrokerUnavailable``.
    """

    def __init__(self, database: Database, send: Send) -> None:
        self.database = database
        self._send = send

    def submit(self, app_id: int, requests: Sequence[DetectionRequest]) -> list[Job]:
        """Record a job for each request, all or none, and queue them.

        Raises:
            BrokerUnavailable: They could not be queued; then they are not recorded either.
        """
        jobs = [_build_job(uuid.uuid4().hex, app_id, each) for each in requests]
        with self.database.session() as session:
            session.add_all(jobs)
        for place, job in enumerate(jobs):
            try:
                self.send(job)
            except BrokerUnavailable:
                if place > 0:
                    break  # the broker went away in the middle: free_stranded queues the rest
                with self.database.session() as session:
                    session.execute(delete(Job).where(Job.id.in_([job.id for job in jobs])))
                raise
        return jobs

    def list_recent(self, app_id: int, state: State | None = None, limit: int = 50) -> Sequence[Job]:
        """Return a client app's jobs, newest first."""
        query = select(Job).where(Job.app_id == app_id).order_by(Job.created.desc(), Job.id).limit(limit)
        with self.database.session() as session:
            return session.scalars(query.where(Job.state == state) if state else query).all()

    def find(self, job_id: str, app_id: int | None = None) -> Job:
        """Return a job; with ``app_id``, only if it is that client app's.

        Raises:
            NotFound: There is none. Another client app's job reads the same.
        """
        with self.database.session() as session:
            job = session.get(Job, job_id)
        if job is None or (app_id is not None and job.app_id != app_id):
            raise NotFound(f"There is no job {job_id[:40]!r} of yours.")
        return job

    def deliveries(self, jobs: Sequence[Job]) -> dict[str, list[Delivery]]:
        """Return the deliveries of some jobs, by the job's id."""
        found: dict[str, list[Delivery]] = {job.id: [] for job in jobs}
        with self.database.session() as session:
            for delivery in session.scalars(select(Delivery).where(Delivery.job_id.in_(found))):
                found[delivery.job_id].append(delivery)
        return found

    def list_unfinished_manifests(self) -> set[str]:
        """Return the addresses of the manifests on which jobs work or will work."""
        with self.database.session() as session:
            requests = session.scalars(select(Job.request).where(Job.state.in_(UNFINISHED))).all()
        return {request["manifest_url"] for request in requests}

    def list_parts(self, job: Job) -> Sequence[Job]:
        """Return the jobs of a collection's manifests, in its order."""
        with self.database.session() as session:
            return session.scalars(select(Job).where(Job.parent_id == job.id).order_by(Job.created)).all()

    def cancel(self, job: Job) -> bool:
        """Cancel a job unless it is finished; the stage at work stops at its next step, and nothing more is sent."""
        pending = (Delivery.job_id == job.id) & (Delivery.status == "pending")
        with self.database.session() as session:
            if not _update(session, job.id, Job.state.in_(UNFINISHED), **build_ending(State.CANCELLED)):
                return False
            session.execute(update(Delivery).where(pending).values(status="cancelled", next_attempt=None))
        self.admit_next(job.host)
        return True

    def retry(self, job: Job) -> bool:
        """Queue a finished job once more, for what failed in it; False when it is no longer finished as it was.

        Its deliveries wait for the new result, which is another one: they get other ids.
        """
        values: dict[str, Any] = {"state": State.QUEUED, "finished": None, "error_code": None, "error_message": None}
        values |= {"retries": Job.retries + 1, "starts": 0, "heartbeat": time.time()}
        with self.database.session() as session:
            if not _update(session, job.id, (Job.state == job.state) & (Job.retries == job.retries), **values):
                return False
            for delivery in session.scalars(select(Delivery).where(Delivery.job_id == job.id)):
                delivery.id, delivery.status = uuid.uuid4().hex, "pending"
                delivery.attempts, delivery.next_attempt = 0, None
        with suppress(BrokerUnavailable):  # then the sweep queues it
            self.send(self.find(job.id))
        return True

    def split(self, job: Job, requests: Sequence[DetectionRequest]) -> None:
        """Make a job of each manifest of a collection. Doing it again adds none twice."""
        name = uuid.UUID(job.id)
        parts = [_build_job(uuid.uuid5(name, each.manifest_url).hex, job.app_id, each) for each in requests]
        with self.database.session() as session:
            there = set(session.scalars(select(Job.id).where(Job.parent_id == job.id)))
            new = [part for part in parts if part.id not in there]
            for part in new:
                part.parent_id = job.id
            session.add_all(new)
        self.change(job.id, Job.claim == job.claim, kind="collection", done=len(parts), total=len(parts))
        for part in new:
            self.send(part)

    def send(self, job: Job) -> None:
        """Put a job on the queue of its next stage."""
        stage = stage_of(State(job.state))
        if stage:
            self._send(stage, job.id)

    def admit_next(self, host: str) -> None:
        """Queue the job that has waited longest for room at a host."""
        waiting = (Job.host == host) & Job.state.in_(DOWNLOAD.starts_from) & Job.claim.is_(None)
        with self.database.session() as session:
            first = session.scalars(select(Job).where(waiting).order_by(Job.heartbeat).limit(5)).all()
        for job in first:
            # Two downloads that end together admit two jobs: each marks its own.
            if self.change(job.id, waiting & (Job.heartbeat == job.heartbeat), touch=False, heartbeat=time.time()):
                with suppress(BrokerUnavailable):  # then the sweep queues it
                    self.send(job)
                return

    def change(self, job_id: str, condition: Any, *, touch: bool = True, **values: Any) -> bool:
        """Change a job's row if a condition holds, and return whether it did; ``touch`` counts it as an update."""
        with self.database.session() as session:
            return _update(session, job_id, condition, touch=touch, **values)


def _update(session: Session, job_id: str, condition: Any, *, touch: bool = True, **values: Any) -> bool:
    if touch:
        values |= {"updated": time.time()}
    result = session.execute(update(Job).where(Job.id == job_id, condition).values(**values))
    return cast(CursorResult[Any], result).rowcount == 1


def _build_job(job_id: str, app_id: int, request: DetectionRequest) -> Job:
    host = request.host[:_LONGEST_HOST]
    return Job(id=job_id, app_id=app_id, kind="detection", host=host, request=request.as_json())


def build_ending(state: State, **values: Any) -> dict[str, Any]:
    """Return what a finished job has in its row."""
    return {"state": state, "claim": None, "finished": time.time(), **values}
