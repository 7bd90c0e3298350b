"""Queries of jobs and their deliveries."""

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import aliased, selectinload

from app.database.sessions import Database
from app.database.tables import Delivery, Job
from app.delivery.kinds import Status
from app.errors import NotFound
from app.jobs.requests.detection_request import name_origin
from app.jobs.states import FINISHED, UNFINISHED, State

# Number of jobs over which the duration of a page is averaged.
MEASURED_JOBS = 20


class JobQueries:
    """Read access to jobs and their deliveries.

    Args:
        database: Database of the jobs.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, job_id: str, app_id: int | None = None) -> Job:
        """Return a job. With ``app_id``, it must belong to that client app.

        Raises:
            NotFound: There is no such job, or it belongs to another client app.
        """
        with self.database.session() as session:
            job = session.get(Job, job_id)
        if job is None or (app_id is not None and job.app_id != app_id):
            raise NotFound(f"There is no job {job_id[:40]!r} of yours.")
        return job

    def list_recent(
        self, app_id: int, state: State | None = None, limit: int = 50, *, kind: str = "", offset: int = 0
    ) -> Sequence[Job]:
        """Return the jobs of a client app, newest first.

        Args:
            app_id: ID of the client app.
            state: Only jobs in this state.
            limit: Largest number of jobs.
            kind: Only jobs of this kind.
            offset: Number of newer jobs that are left out.
        """
        chosen = select(Job).where(*_build_conditions(app_id, state, kind)).order_by(Job.created.desc(), Job.id)
        with self.database.session() as session:
            return session.scalars(chosen.limit(limit).offset(offset)).all()

    def count(self, app_id: int, state: State | None = None, kind: str = "") -> int:
        """Return the number of jobs of a client app, in a state or of a kind."""
        with self.database.session() as session:
            return session.scalar(select(func.count(Job.id)).where(*_build_conditions(app_id, state, kind))) or 0

    def list_parts(self, job: Job) -> Sequence[Job]:
        """Return the parts of a collection or of a task of a front, in the order in which they were added."""
        with self.database.session() as session:
            return session.scalars(select(Job).where(Job.parent_id == job.id).order_by(Job.created)).all()

    def is_part_of(self, job: Job, kind: str) -> bool:
        """Return whether a job is a part of a job of a kind."""
        if job.parent_id is None:
            return False
        with self.database.session() as session:
            return session.scalar(select(Job.kind).where(Job.id == job.parent_id)) == kind

    def list_of_kind(self, app_id: int, kind: str) -> Sequence[Job]:
        """Return the jobs of a kind of a client app."""
        with self.database.session() as session:
            return session.scalars(select(Job).where(Job.app_id == app_id, Job.kind == kind)).all()

    def list_unfinished_origins(self, apart_from: str = "") -> set[str]:
        """Return the origins of the documents of all unfinished detection jobs except ``apart_from``."""
        with self.database.session() as session:
            others = Job.state.in_(UNFINISHED) & (Job.id != apart_from)
            requests = session.scalars(select(Job.request).where(others)).all()
        return {name_origin(request) for request in requests if "manifest_url" in request}

    def list_unfinished(self, *kinds: str) -> set[str]:
        """Return the IDs of the unfinished jobs of some kinds."""
        with self.database.session() as session:
            mine = Job.state.in_(UNFINISHED) & Job.kind.in_(kinds)
            return set(session.scalars(select(Job.id).where(mine)))

    def count_unfinished(self) -> int:
        """Return the number of unfinished jobs of all client apps."""
        with self.database.session() as session:
            return session.scalar(select(func.count(Job.id)).where(Job.state.in_(UNFINISHED))) or 0

    def measure_page_seconds(self, kind: str) -> float | None:
        """Return the mean seconds of the run stage per page, over the latest finished jobs; None without such jobs."""
        latest = select(Job).where(Job.kind == kind, Job.state == State.DONE).order_by(Job.finished.desc())
        with self.database.session() as session:
            jobs = session.scalars(latest.limit(MEASURED_JOBS)).all()
        pages, seconds = sum(job.total for job in jobs), sum(job.timings.get(State.RUNNING, 0.0) for job in jobs)
        return seconds / pages if pages else None

    def list_expired(self, before: float, limit: int) -> Sequence[str]:
        """Return the IDs of jobs that have expired.

        Args:
            before: See :func:`has_expired`.
            limit: Maximum number of IDs.
        """
        expired = select(Job.id).where(has_expired(before)).order_by(Job.finished)
        with self.database.session() as session:
            return session.scalars(expired.limit(limit)).all()

    def deliveries(self, jobs: Sequence[Job]) -> dict[str, list[Delivery]]:
        """Return the deliveries of some jobs with their attempts, by job ID."""
        found: dict[str, list[Delivery]] = {job.id: [] for job in jobs}
        with self.database.session() as session:
            mine = select(Delivery).where(Delivery.job_id.in_(found)).order_by(Delivery.created)
            for delivery in session.scalars(mine.options(selectinload(Delivery.history))):
                found[delivery.job_id].append(delivery)
        return found

    def count_deliveries(self, jobs: Sequence[Job]) -> dict[str, dict[str, int]]:
        """Return the number of deliveries of some jobs, by job ID and status."""
        counts: dict[str, dict[str, int]] = {job.id: {} for job in jobs}
        rows = select(Delivery.job_id, Delivery.status, func.count()).where(Delivery.job_id.in_(counts))
        with self.database.session() as session:
            for job_id, status, count in session.execute(rows.group_by(Delivery.job_id, Delivery.status)):
                counts[job_id][status] = count
        return counts


def has_expired(before: float) -> ColumnElement[bool]:
    """Return the condition that a job finished before a time, in seconds since the epoch, and may be removed.

    Jobs with pending deliveries and collections with remaining jobs may not.
    """
    part = aliased(Job)
    has_parts = select(part.id).where(part.parent_id == Job.id).exists()
    pending = (Delivery.job_id == Job.id) & (Delivery.status == Status.PENDING)
    is_kept = has_parts | select(Delivery.id).where(pending).exists()
    return Job.state.in_(FINISHED) & (Job.finished < before) & ~is_kept


def _build_conditions(app_id: int, state: State | None, kind: str) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of the jobs of a client app, in a state or of a kind."""
    yield Job.app_id == app_id
    if state:
        yield Job.state == state
    if kind:
        yield Job.kind == kind
