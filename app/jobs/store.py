"""The store of jobs: every change of a job's row happens here, each as one atomic statement."""

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, cast

from sqlalchemy import CursorResult, case, delete, select, update

from app.database import Database, Delivery, Job
from app.errors import BrokerUnavailable, ClaimLost, ExtractorError, NotFound
from app.jobs.requests import DetectionRequest
from app.jobs.states import UNFINISHED, Stage, State, stage_of

Send = Callable[[Stage, str], None]


class JobStore:
    """Jobs in the database, and their ids on the queues.

    Args:
        database: Where the rows are.
        send: Puts the id of a job on the queue of a stage; raises ``BrokerUnavailable``.
        stale_seconds: A claim without a heartbeat for so long is nobody's.
        max_starts: How often a stage may start without getting anywhere.
    """

    def __init__(self, database: Database, send: Send, stale_seconds: float, max_starts: int) -> None:
        self.database = database
        self._send = send
        self._stale_seconds = stale_seconds
        self._max_starts = max_starts

    # For the routes

    def submit(self, app_id: int, requests: Sequence[DetectionRequest]) -> list[Job]:
        """Record a job for each request, all or none, and queue them.

        Raises:
            BrokerUnavailable: They could not be queued; then they are not recorded either.
        """
        jobs = [Job(id=uuid.uuid4().hex, app_id=app_id, kind="detection", request=each.as_json()) for each in requests]
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

    def cancel(self, job: Job) -> bool:
        """Cancel a job unless it is finished; the stage at work stops at its next step, and nothing more is sent."""
        if not self._change(job.id, Job.state.in_(UNFINISHED), **_ending(State.CANCELLED)):
            return False
        pending = (Delivery.job_id == job.id) & (Delivery.status == "pending")
        with self.database.session() as session:
            session.execute(update(Delivery).where(pending).values(status="cancelled", next_attempt=None))
        return True

    # For the stages

    def claim(self, job_id: str, stage: Stage, token: str, dead: str = "") -> Job | None:
        """Take a stage of a job; None when it is done, taken, or not this job's turn.

        A stage that started ``max_starts`` times without getting anywhere fails the job instead: whatever
        kills the worker would kill it again.

        Args:
            job_id: Of the job.
            stage: To be claimed.
            token: Names the claim.
            dead: A claim whose worker is known to have died; it holds nothing any more.
        """
        now = time.time()
        free = Job.claim.is_(None) | (Job.claim == dead) | (Job.heartbeat < now - self._stale_seconds)
        turn = Job.state.in_(stage.starts_from) & free
        values: dict[str, Any] = {"state": stage.state, "claim": token, "starts": Job.starts + 1, "heartbeat": now}
        if self._change(job_id, turn & (Job.starts < self._max_starts), **values):
            return self.find(job_id)
        reason = f"The {stage.task} stage ended {self._max_starts} times without a word, as when memory runs out."
        ending = _ending(State.FAILED, error_code="worker_lost", error_message=reason)
        self._change(job_id, turn & (Job.starts >= self._max_starts), **ending)
        return None

    def beat(self, job: Job, **values: Any) -> None:
        """Keep a claim alive, and record values of the row.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        if not self._change(job.id, Job.claim == job.claim, touch=bool(values), heartbeat=time.time(), **values):
            raise ClaimLost(f"Job {job.id} is no longer this worker's.")

    def record_progress(self, job: Job, done: int, total: int, coverage: dict[str, Any] | None) -> None:
        """Record how far a stage is. One that gets on has not started in vain, however often it was killed.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        values: dict[str, Any] = {"coverage": coverage} if coverage is not None else {}
        starts = case((Job.done < done, 1), else_=Job.starts)
        self.beat(job, done=done, total=total, starts=starts, **values)

    def release(self, token: str) -> None:
        """Give a claim back: its worker shuts down. The start does not count, and the job is queued again."""
        with self.database.session() as session:
            job_id = session.scalar(select(Job.id).where(Job.claim == token))
        now = time.time()
        if job_id and self._change(job_id, Job.claim == token, claim=None, starts=Job.starts - 1, heartbeat=now):
            self.send(self.find(job_id))

    def hand_over(self, job: Job, stage: Stage, seconds: float) -> None:
        """End a stage: the next one may be claimed, and its queue is told.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        timings = job.timings | {stage.state: round(job.timings.get(stage.state, 0) + seconds, 3)}
        values: dict[str, Any] = {"state": stage.leads_to, "claim": None, "starts": 0, "timings": timings}
        if stage.leads_to is State.RUNNING:
            values["done"] = 0  # detection counts anew; delivery leaves its count to be seen
        if stage.leads_to is State.DONE:
            values |= _ending(State.DONE)
        self.beat(job, **values)
        if stage.leads_to is not State.DONE:
            self.send(self.find(job.id))

    def fail(self, job: Job, error: ExtractorError) -> None:
        """End a job with the reason, if it is still this worker's."""
        ending = _ending(State.FAILED, error_code=error.code, error_message=error.message)
        self._change(job.id, Job.claim == job.claim, **ending)

    def send(self, job: Job) -> None:
        """Put a job on the queue of its next stage."""
        stage = stage_of(State(job.state))
        if stage:
            self._send(stage, job.id)

    def free_stranded(self, queue_is_empty: Callable[[str], bool]) -> list[Job]:
        """Free the jobs that nobody works on and no message stands for, and return them.

        These are claims without a recent heartbeat, and jobs that wait while their queue is empty.
        """
        limit = time.time() - self._stale_seconds
        with self.database.session() as session:
            quiet = session.scalars(select(Job).where(Job.state.in_(UNFINISHED), Job.heartbeat < limit)).all()
        empty = {queue: queue_is_empty(queue) for queue in {_queue(job) for job in quiet}}
        stranded = [job for job in quiet if job.claim or empty[_queue(job)]]
        still = Job.heartbeat < limit
        return [job for job in stranded if self._change(job.id, still, claim=None, heartbeat=time.time(), touch=False)]

    def _change(self, job_id: str, condition: Any, *, touch: bool = True, **values: Any) -> bool:
        if touch:
            values |= {"updated": time.time()}
        with self.database.session() as session:
            result = session.execute(update(Job).where(Job.id == job_id, condition).values(**values))
        return cast(CursorResult[Any], result).rowcount == 1


def _ending(state: State, **values: Any) -> dict[str, Any]:
    return {"state": state, "claim": None, "finished": time.time(), **values}


def _queue(job: Job) -> str:
    stage = stage_of(State(job.state))
    return stage.queue if stage else ""
