"""The store of jobs: their rows in the database, their ids on the queues. For the routes; see ``claims`` for stages."""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.orm import Session, selectinload

from app.database.sessions import Database
from app.database.tables import Delivery, Job
from app.delivery.kinds import Kind, Status
from app.errors import BrokerUnavailable, ExtractorError, NotFound
from app.jobs.events import Announcements, Then
from app.jobs.requests import Request
from app.jobs.states import DOWNLOAD, UNFINISHED, Stage, State, stage_of

# The heartbeat of a job for which no message could be sent.
NEVER_SENT = 0.0
Send = Callable[[Stage, str], None]


class JobStore:
    """Jobs in the database, and their ids on the queues. Every change of a row is one atomic statement.

    Args:
        database: Where the rows are.
        send: Puts the id of a job on the queue of a stage; raises ``BrokerUnavailable``.
        announcements: Tell client apps what becomes of their jobs.
    """

    def __init__(self, database: Database, send: Send, announcements: Announcements | None = None) -> None:
        self.database = database
        self.announcements = announcements or Announcements()
        self._send = send

    def submit(self, app_id: int, requests: Sequence[Request]) -> list[Job]:
        """Record a job for each request, all or none, and queue them.

        Raises:
            BrokerUnavailable: They could not be queued; then they are not recorded either.
        """
        jobs = [build_job(uuid.uuid4().hex, app_id, each) for each in requests]
        with self.database.session() as session:
            session.add_all(jobs)
        if not self.send_all(jobs) and self._take_back([job.id for job in jobs]):
            raise BrokerUnavailable("The jobs cannot be queued now: the broker does not answer. Try later.")
        return jobs

    def _take_back(self, job_ids: Sequence[str]) -> bool:
        """Remove jobs that nobody has begun; False, and none is removed, when a worker has taken one already.

        A broker may take a message and not say so in time; any message makes a worker take whose turn it is.
        """
        untouched = Job.id.in_(job_ids) & (Job.state == State.QUEUED) & Job.claim.is_(None)
        with self.database.session() as session:
            if cast(CursorResult[Any], session.execute(delete(Job).where(untouched))).rowcount == len(job_ids):
                return True
            session.rollback()
        return False

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
        """Return the deliveries of some jobs, each with its tries, by the job's id."""
        found: dict[str, list[Delivery]] = {job.id: [] for job in jobs}
        with self.database.session() as session:
            mine = select(Delivery).where(Delivery.job_id.in_(found)).order_by(Delivery.created)
            for delivery in session.scalars(mine.options(selectinload(Delivery.history))):
                found[delivery.job_id].append(delivery)
        return found

    def count_deliveries(self, jobs: Sequence[Job]) -> dict[str, dict[str, int]]:
        """Return how many deliveries some jobs have, by the job's id and by status."""
        counts: dict[str, dict[str, int]] = {job.id: {} for job in jobs}
        rows = select(Delivery.job_id, Delivery.status, func.count()).where(Delivery.job_id.in_(counts))
        with self.database.session() as session:
            for job_id, status, count in session.execute(rows.group_by(Delivery.job_id, Delivery.status)):
                counts[job_id][status] = count
        return counts

    def list_unfinished_manifests(self, apart_from: str = "") -> set[str]:
        """Return the addresses of the manifests on which jobs work or will work, apart from one job."""
        with self.database.session() as session:
            others = Job.state.in_(UNFINISHED) & (Job.id != apart_from)
            requests = session.scalars(select(Job.request).where(others)).all()
        return {request["manifest_url"] for request in requests if "manifest_url" in request}

    def list_unfinished(self, *kinds: str) -> set[str]:
        """Return the ids of the jobs of some kinds that are not finished."""
        with self.database.session() as session:
            mine = Job.state.in_(UNFINISHED) & Job.kind.in_(kinds)
            return set(session.scalars(select(Job.id).where(mine)))

    def cancel(self, job: Job) -> int:
        """Cancel a job and, of a collection, its parts, unless finished; return how many were cancelled.

        A stage at work stops at its next step, and nothing more is sent.
        """
        ending = build_ending(State.CANCELLED, updated=time.time())
        end = update(Job).where(Job.state.in_(UNFINISHED)).values(**ending).returning(Job.id)
        with self.database.session() as session:
            mine = (Job.id == job.id) | (Job.parent_id == job.id)
            at_work = mine & (Job.state == State.DOWNLOADING) & Job.claim.is_not(None)
            hosts = session.scalars(select(Job.host).where(at_work).distinct()).all()
            # The job itself first: from then on no part is made of it, and those that were are seen.
            cancelled = [*session.scalars(end.where(Job.id == job.id))]
            cancelled += session.scalars(end.where(Job.parent_id == job.id))
            pending = Delivery.job_id.in_(cancelled) & (Delivery.status == Status.PENDING)
            session.execute(update(Delivery).where(pending).values(status=Status.CANCELLED, next_attempt=None))
            for job_id in cancelled:
                self.announcements.announce(session, Kind.CANCELLED, job_id)
        for host in hosts:
            self.admit_next(host)
        return len(cancelled)

    def retry(self, job: Job) -> bool:
        """Queue a finished job once more, for what failed in it; False when it is no longer finished as it was.

        What is still to be delivered of it is held back: a newer result is on its way.

        Raises:
            BrokerUnavailable: It could not be queued; then it is as it was.
        """
        before: dict[str, Any] = {
            "state": job.state,
            "retries": job.retries,
            "finished": job.finished,
            "done": job.done,
        }
        before |= {"error_code": job.error_code, "error_message": job.error_message}
        now: dict[str, Any] = {"state": State.QUEUED, "retries": job.retries + 1, "finished": None}
        now |= {"error_code": None, "error_message": None, "starts": 0, "tries": 0, "worked": 0.0, "done": 0}
        now["heartbeat"] = time.time()
        with self.database.session() as session:
            if not update_job(session, job.id, (Job.state == job.state) & (Job.retries == job.retries), **now):
                return False
            _hold_deliveries(session, job.id, None)
        try:
            self.send(self.find(job.id))
        except BrokerUnavailable:
            waits = (Job.state == State.QUEUED) & (Job.retries == job.retries + 1) & Job.claim.is_(None)
            with self.database.session() as session:
                if not update_job(session, job.id, waits, **before):
                    return True  # a worker has taken it all the same
                _hold_deliveries(session, job.id, time.time())
            raise
        return True

    def fail(self, job_id: str, condition: Any, error: ExtractorError) -> bool:
        """End a job with the reason if a condition holds; what is to be delivered of an earlier result goes on."""
        ending = build_ending(State.FAILED, error_code=error.code, error_message=error.message)
        with self.database.session() as session:
            if not update_job(session, job_id, condition, **ending):
                return False
            _hold_deliveries(session, job_id, time.time())
            self.announcements.announce(session, Kind.FAILED, job_id)
        return True

    def send_all(self, jobs: Sequence[Job]) -> int:
        """Put jobs on their queues, and return how many: when the broker goes away, the sweep queues the rest."""
        for place, job in enumerate(jobs):
            try:
                self.send(job)
            except BrokerUnavailable:
                unsent = Job.id.in_([job.id for job in jobs[place:]]) & Job.claim.is_(None)
                with self.database.session() as session:
                    session.execute(update(Job).where(unsent).values(heartbeat=NEVER_SENT))
                return place
        return len(jobs)

    def send(self, job: Job) -> None:
        """Put a job on the queue of its next stage.

        Raises:
            BrokerUnavailable: It is not there; the sweep will put it there.
        """
        stage = stage_of(State(job.state))
        try:
            if stage:
                self._send(stage, job.id)
        except BrokerUnavailable:
            self.change(job.id, Job.claim.is_(None), touch=False, heartbeat=NEVER_SENT)
            raise

    def admit_next(self, host: str) -> None:
        """Make a place in the line for one of the jobs that wait for room at a host."""
        waiting = (Job.host == host) & Job.state.in_(DOWNLOAD.starts_from) & Job.claim.is_(None)
        with self.database.session() as session:
            job = session.scalars(select(Job).where(waiting).order_by(Job.created).limit(1)).first()
        if job:
            with suppress(BrokerUnavailable):  # then the sweep queues it
                self.send(job)

    def change(
        self, job_id: str, condition: Any, *, touch: bool = True, then: Then | None = None, **values: Any
    ) -> bool:
        """Change a job's row if a condition holds, and return whether it did.

        Args:
            job_id: Of the job.
            condition: That its row must meet.
            touch: Counts it as an update.
            then: Is done in the same transaction.
            values: Of the row.
        """
        with self.database.session() as session:
            changed = update_job(session, job_id, condition, touch=touch, **values)
            if changed and then:
                then(session)
        return changed


def update_job(session: Session, job_id: str, condition: Any, *, touch: bool = True, **values: Any) -> bool:
    """Change a job's row in a transaction if a condition holds, and return whether it did."""
    if touch:
        values |= {"updated": time.time()}
    result = session.execute(update(Job).where(Job.id == job_id, condition).values(**values))
    return cast(CursorResult[Any], result).rowcount == 1


def _hold_deliveries(session: Session, job_id: str, till: float | None) -> None:
    """Set when the pending results of a job are tried next; None: not now."""
    pending = (Delivery.job_id == job_id) & (Delivery.kind == Kind.RESULT) & (Delivery.status == Status.PENDING)
    session.execute(update(Delivery).where(pending).values(next_attempt=till))


def build_job(job_id: str, app_id: int, request: Request, parent_id: str | None = None) -> Job:
    """Return the row of a new job."""
    return Job(
        id=job_id, app_id=app_id, kind=request.kind, host=request.host, request=request.as_json(), parent_id=parent_id
    )


def build_ending(state: State, **values: Any) -> dict[str, Any]:
    """Return what a finished job has in its row."""
    return {"state": state, "claim": None, "finished": time.time(), **values}
