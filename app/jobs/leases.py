"""Claims: how a worker takes a stage of a job, keeps it, and hands it on; and what becomes of a dead worker's."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.orm import load_only

from app.database.tables import Job
from app.delivery.kinds import Kind
from app.errors import ClaimLost, ExtractorError, TimeLimit, WorkerLost
from app.jobs.events import Then
from app.jobs.processes import is_gone, name_worker
from app.jobs.scheduling import HOST_JOBS, Line
from app.jobs.states import DOWNLOAD, UNFINISHED, Stage, State, stage_of
from app.jobs.store import NEVER_SENT, JobStore, build_ending

# How often a stage is taken up that does not even get to its first page: weights that end the process, say.
MOST_TRIES = 8

# How often a job's pages are begun without progress: one killed worker may be chance, two are the page.
MAX_STARTS = 2

# Thousands may wait: their requests and coverages are left where they are.
_SEEN_BY_SWEEP = (Job.state, Job.host, Job.claim, Job.worker, Job.heartbeat, Job.created)


class Claims:
    """The claims on the stages of jobs. A claim is a column of the job's row, kept alive by a heartbeat.

    Args:
        jobs: Whose rows these are.
        stale_seconds: A claim without a heartbeat for so long is nobody's.
        max_starts: How often the pages of a job may be begun without getting anywhere.
        host_jobs: How many jobs may be downloaded from one host at a time.
    """

    def __init__(
        self, jobs: JobStore, stale_seconds: float, max_starts: int = MAX_STARTS, host_jobs: int = HOST_JOBS
    ) -> None:
        self._jobs = jobs
        self._line = Line(jobs.database, stale_seconds, host_jobs)
        self._stale_seconds = stale_seconds
        self._max_starts = max_starts
        self._host_jobs = host_jobs

    def claim(self, stage: Stage, message: str, retries: int = 0) -> Job | None:
        """Take the job whose turn it is at a stage; None when none waits there that may be taken.

        One whose pages were begun ``max_starts`` times without getting anywhere fails instead: whatever kills the
        worker would kill it again. Before its first page a worker may also have been killed with others', and not by
        this job: that counts less.

        Args:
            stage: To be claimed.
            message: That made this place in the line. A broker may give it out twice: each makes a claim of its own.
            retries: How often it comes again because the worker's child that had it died.
        """
        token = f"{_name_try(message, retries)}{secrets.token_hex(4)}"
        dead = self._list_dead(message, retries - 1)
        while job := self._line.find_next(stage, dead):
            free = self._line.is_free(stage, dead)
            values: dict[str, Any] = {"state": stage.state, "claim": token, "worker": name_worker()}
            values |= {"heartbeat": time.time(), "tries": Job.tries + 1, "stalled": 0.0}
            hopeless = (Job.starts >= self._max_starts) | (Job.tries >= MOST_TRIES)
            if self._jobs.change(job.id, free & ~hopeless, then=self._tell(Kind.STARTED, job), **values):
                self._line.note_turn(job, stage)
                return self._jobs.find(job.id)
            times = job.starts if job.starts >= self._max_starts else job.tries
            lost = f"The {stage.state} stage ended {times} times without a word, as when memory runs out."
            self._fail(job, free & hopeless, WorkerLost(lost))
        return None

    def is_awaited(self, stage: Stage) -> bool:
        """Tell whether a job waits for a stage that goes before a training."""
        return self._line.is_awaited(stage)

    def _list_dead(self, message: str, retries: int) -> Sequence[str]:
        """Return the claims of a try of a message whose process has ended."""
        if retries < 0:
            return []
        mine = Job.claim.startswith(_name_try(message, retries), autoescape=True)
        with self._jobs.database.session() as session:
            jobs = session.execute(select(Job.claim, Job.worker).where(mine)).all()
        return [claim for claim, worker in jobs if claim and is_gone(worker)]

    def begin_page(self, job: Job) -> None:
        """Count a start: what ends the process from now on may be the page that it looks at.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        self.beat(job, starts=Job.starts + 1)

    def beat(self, job: Job, then: Then | None = None, **values: Any) -> None:
        """Keep a claim alive, and record values of the row; ``then`` is done in the same transaction.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        touch, since = bool(values), self._since_heartbeat()
        values = {"worked": Job.worked + since, "stalled": Job.stalled + since, "heartbeat": time.time()} | values
        if not self._jobs.change(job.id, Job.claim == job.claim, touch=touch, then=then, **values):
            raise ClaimLost(f"Job {job.id} is no longer this worker's.")

    def _since_heartbeat(self) -> ColumnElement[float]:
        """Return the seconds at work since a job's last heartbeat: no more than a claim holds, for clocks are set."""
        now = time.time()
        return case((Job.heartbeat.between(now - self._stale_seconds, now), now - Job.heartbeat), else_=0.0)

    def record_progress(self, job: Job, done: int, total: int, coverage: dict[str, Any] | None) -> None:
        """Record how far a stage is. One that gets on has not started in vain, however often it was killed.

        To get on is to be further than ever before: a stage that goes on after an interruption counts from its
        beginning, or from what could be read of it, and comes to the page that killed it again.

        Raises:
            ClaimLost: The job was cancelled, or another worker has it.
        """
        values: dict[str, Any] = {"coverage": coverage} if coverage is not None else {}
        gets_on = Job.done < done
        values["starts"] = case((gets_on & (Job.starts > 0), 1), else_=Job.starts)
        values["tries"] = case((gets_on, 1), else_=Job.tries)
        values["stalled"] = case((gets_on, 0.0), else_=Job.stalled + self._since_heartbeat())
        values["done"] = case((gets_on, done), else_=Job.done)
        self.beat(job, self._tell(Kind.PROGRESS, job), total=total, **values)

    def release(self, message: str, retries: int, worker: str) -> None:
        """Give back the claim of a message: its worker shuts down. The try does not count, and the job is queued again.

        Args:
            message: That brought the claim about.
            retries: How often it had come again by then.
            worker: The process that has the claim; the same message may have been given to another.
        """
        mine = Job.claim.startswith(_name_try(message, retries), autoescape=True) & (Job.worker == worker)
        with self._jobs.database.session() as session:
            job_ids = session.scalars(select(Job.id).where(mine)).all()
        values: dict[str, Any] = {"claim": None, "starts": 0, "tries": Job.tries - 1, "heartbeat": time.time()}
        for job_id in job_ids:
            if self._jobs.change(job_id, mine, **values):
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
        values: dict[str, Any] = {"state": state, "claim": None, "starts": 0, "tries": 0, "timings": timings}
        values["worked"] = 0.0
        if state is State.RUNNING and stage is DOWNLOAD:
            values["done"] = 0  # detection counts anew; who gives way or is delivered leaves its count to be seen
        then = None
        if state is State.DONE:
            values |= build_ending(State.DONE)
            then = self._tell(Kind.DONE, job)
        self.beat(job, then, **values)
        if stage is DOWNLOAD:
            self._jobs.admit_next(job.host)
        if state is not State.DONE:
            self._jobs.send(self._jobs.find(job.id))

    def fail(self, job: Job, error: ExtractorError) -> None:
        """End a job with the reason, if it is still this worker's."""
        self._fail(job, Job.claim == job.claim, error)

    def _fail(self, job: Job, condition: ColumnElement[bool], error: ExtractorError) -> bool:
        failed = self._jobs.fail(job.id, condition, error)
        if failed:
            self._jobs.admit_next(job.host)
        return failed

    def end_overdue(self, stage: Stage, hours: float, stall_minutes: float) -> list[Job]:
        """Fail the jobs whose stage takes longer than it may, or does not get on, and return them.

        Their workers learn it at the next heartbeat.

        Args:
            stage: At work.
            hours: The whole stage may take.
            stall_minutes: May pass without another page.
        """
        limits = (
            (Job.worked > 3600 * hours, f"took longer than {hours:g} hours"),
            (Job.stalled > 60 * stall_minutes, f"did not get on for {stall_minutes:g} minutes"),
        )
        ended = []
        for overdue, what in limits:
            late = (Job.state == stage.state) & Job.claim.is_not(None) & overdue  # others wait to go on
            with self._jobs.database.session() as session:
                jobs = session.scalars(select(Job).where(late)).all()
            error = TimeLimit(f"The {stage.state} stage {what}, the limit of this server: ask for a retry.")
            ended += [job for job in jobs if self._fail(job, late & (Job.claim == job.claim), error)]
        return ended

    def _tell(self, kind: Kind, job: Job) -> Then:
        return self._jobs.announcements.of(kind, job.id)

    def free_stranded(self, queue_is_empty: Callable[[str], bool]) -> list[Job]:
        """Free the jobs that nobody works on and no message stands for, and return them.

        These are claims whose process is gone or which have no recent heartbeat, jobs that could not be sent, and jobs
        that wait while their queue is empty and their host has room.
        """
        limit = time.time() - self._stale_seconds
        with self._jobs.database.session() as session:
            quiet = (Job.heartbeat < limit) | Job.claim.is_not(None)
            found = select(Job).where(Job.state.in_(UNFINISHED), quiet).order_by(Job.created)
            jobs = session.scalars(found.options(load_only(*_SEEN_BY_SWEEP))).all()
        dead = {job.id for job in jobs if job.claim and (job.heartbeat < limit or is_gone(job.worker))}
        busy = Counter(job.host for job in jobs if job.claim and _downloads(job) and job.id not in dead)
        empty = {queue: queue_is_empty(queue) for queue in {_queue(job) for job in jobs}}
        freed = []
        for job in jobs:
            has_room = not _downloads(job) or busy[job.host] < self._host_jobs
            waits = not job.claim and empty[_queue(job)] and has_room
            unseen = Job.heartbeat == job.heartbeat
            if (job.id in dead or waits or job.heartbeat == NEVER_SENT) and self._jobs.change(
                job.id, unseen, claim=None, heartbeat=time.time(), touch=False
            ):
                busy[job.host] += _downloads(job)
                freed.append(job)
        return freed


def _name_try(message: str, retries: int) -> str:
    """Return what the claims of a message begin with that were made when it had come again so often."""
    return f"{message}:{retries}:"


def _queue(job: Job) -> str:
    stage = stage_of(State(job.state))
    return stage.queue if stage else ""


def _downloads(job: Job) -> bool:
    return _queue(job) == DOWNLOAD.queue
