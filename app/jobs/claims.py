"""Claims: how a worker takes a stage of a job, keeps it, and hands it on; and what becomes of a dead worker's."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import aliased

from app.database import Job
from app.delivery.kinds import Kind
from app.errors import ClaimLost, ExtractorError, WorkerLost
from app.jobs.announcements import Then
from app.jobs.states import DOWNLOAD, UNFINISHED, Stage, State, stage_of
from app.jobs.store import NEVER_SENT, JobStore, build_ending


class Claims:
    """The claims on the stages of jobs. A claim is a column of the job's row, kept alive by a heartbeat.

    Args:
        jobs: Whose rows these are.
        stale_seconds: A claim without a heartbeat for so long is nobody's.
        max_starts: How often a stage may start without getting anywhere.
        host_jobs: How many jobs may be downloaded from one host at a time: the others wait, and hold up nobody.
    """

    def __init__(self, jobs: JobStore, stale_seconds: float, max_starts: int, host_jobs: int) -> None:
        self._jobs = jobs
        self._stale_seconds = stale_seconds
        self._max_starts = max_starts
        self._host_jobs = host_jobs

    def claim(self, job_id: str, stage: Stage, token: str, dead: str = "") -> Job | None:
        """Take a stage of a job; None when it is done, taken, or not this job's turn.

        A download for which its host has no room yet is left: when another is over, it is queued again.
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
        if stage is DOWNLOAD:
            turn &= self._count_busy() < self._host_jobs
        values: dict[str, Any] = {"state": stage.state, "claim": token, "starts": Job.starts + 1, "heartbeat": now}
        began = self._jobs.announcements.of(Kind.STARTED, job_id)
        if self._jobs.change(job_id, turn & (Job.starts < self._max_starts), then=began, **values):
            return self._jobs.find(job_id)
        worker_lost = WorkerLost(
            f"The {stage.task} stage ended {self._max_starts} times without a word, as when memory runs out."
        )
        if self._jobs.fail(job_id, turn & (Job.starts >= self._max_starts), worker_lost) and stage is DOWNLOAD:
            self._jobs.admit_next(self._jobs.find(job_id).host)
        if stage is DOWNLOAD:  # there is no room: it keeps its place in the line
            waits = Job.state.in_(stage.starts_from) & Job.claim.is_(None)
            self._jobs.change(job_id, waits, touch=False, heartbeat=Job.created)
        return None

    def beat(self, job: Job, then: Then | None = None, **values: Any) -> None:
        """Keep a claim alive, and record values of the row; ``then`` is done in the same transaction.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        mine, touch = Job.claim == job.claim, bool(values)
        if not self._jobs.change(job.id, mine, touch=touch, then=then, heartbeat=time.time(), **values):
            raise ClaimLost(f"Job {job.id} is no longer this worker's.")

    def record_progress(self, job: Job, done: int, total: int, coverage: dict[str, Any] | None) -> None:
        """Record how far a stage is. One that gets on has not started in vain, however often it was killed.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        values: dict[str, Any] = {"coverage": coverage} if coverage is not None else {}
        starts = case((Job.done < done, 1), else_=Job.starts)
        then = self._jobs.announcements.of(Kind.PROGRESS, job.id)
        self.beat(job, then, done=done, total=total, starts=starts, **values)

    def release(self, token: str) -> None:
        """Give a claim back: its worker shuts down. The start does not count, and the job is queued again."""
        with self._jobs.database.session() as session:
            job_id = session.scalar(select(Job.id).where(Job.claim == token))
        now = time.time()
        if job_id and self._jobs.change(job_id, Job.claim == token, claim=None, starts=Job.starts - 1, heartbeat=now):
            self._jobs.send(self._jobs.find(job_id))

    def hand_over(self, job: Job, stage: Stage, seconds: float, leads_to: State | None = None) -> None:
        """End a stage: the next one may be claimed, and its queue is told.

        Args:
            job: As it was claimed.
            stage: That has ended.
            seconds: It took.
            leads_to: Another state than the stage leads to as a rule.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        timings = job.timings | {stage.state: round(job.timings.get(stage.state, 0) + seconds, 3)}
        state = leads_to or stage.leads_to
        values: dict[str, Any] = {"state": state, "claim": None, "starts": 0, "timings": timings}
        if state is State.RUNNING:
            values["done"] = 0  # detection counts anew; delivery leaves its count to be seen
        then = None
        if state is State.DONE:
            values |= build_ending(State.DONE)
            then = self._jobs.announcements.of(Kind.DONE, job.id)
        self.beat(job, then, **values)
        if stage is DOWNLOAD:
            self._jobs.admit_next(job.host)
        if state is not State.DONE:
            self._jobs.send(self._jobs.find(job.id))

    def fail(self, job: Job, error: ExtractorError) -> None:
        """End a job with the reason, if it is still this worker's."""
        if self._jobs.fail(job.id, Job.claim == job.claim, error):
            self._jobs.admit_next(job.host)

    def free_stranded(self, queue_is_empty: Callable[[str], bool]) -> list[Job]:
        """Free the jobs that nobody works on and no message stands for, and return them.

        These are claims without a recent heartbeat, jobs that could not be sent, and jobs that wait while their queue
        is empty and their host has room.
        """
        limit = time.time() - self._stale_seconds
        with self._jobs.database.session() as session:
            quiet = select(Job).where(Job.state.in_(UNFINISHED), Job.heartbeat < limit).order_by(Job.heartbeat)
            jobs = session.scalars(quiet).all()
            at_work = select(Job.host).where(Job.state == State.DOWNLOADING, Job.claim.is_not(None))
            busy = Counter(session.scalars(at_work.where(Job.heartbeat >= limit)))
        empty = {queue: queue_is_empty(queue) for queue in {_queue(job) for job in jobs}}
        still = Job.heartbeat < limit
        freed = []
        for job in jobs:
            downloads = _queue(job) == DOWNLOAD.queue
            has_room = not downloads or busy[job.host] < self._host_jobs
            is_lost = job.claim or job.heartbeat == NEVER_SENT or (empty[_queue(job)] and has_room)
            if is_lost and self._jobs.change(job.id, still, claim=None, heartbeat=time.time(), touch=False):
                busy[job.host] += downloads
                freed.append(job)
        return freed

    def _count_busy(self) -> ColumnElement[int]:
        """Count the other jobs that are now downloaded from a job's host."""
        other = aliased(Job)
        at_work = (other.state == State.DOWNLOADING) & other.claim.is_not(None)
        alive = other.heartbeat >= time.time() - self._stale_seconds
        same_host = (other.host == Job.host) & (other.id != Job.id)
        return select(func.count(other.id)).where(same_host, at_work, alive).correlate(Job).scalar_subquery()


def _queue(job: Job) -> str:
    stage = stage_of(State(job.state))
    return stage.queue if stage else ""
