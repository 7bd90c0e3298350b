"""Leases: how workers take, keep and finish the stages of jobs, and how the sweep frees the jobs of dead workers.

    submit ──▶ waiting ──lease_next──▶ leased ──finish_stage──▶ waiting for the next stage, or done
                  ▲                      │
                  ├── release ───────────┤ its worker shuts down
                  ├── hand_over ─────────┤ its process can no longer use the GPU
                  ├── free_abandoned ────┤ its worker has ended or sends no heartbeat
      failed ◀────┼── fail, end_overdue ─┘
      cancelled ◀─┼── cancel             from any unfinished state
                  └── retry              from any finished state

Every change of a job's row is one method of :class:`~app.jobs.lifecycle.Jobs`. The methods for workers are here, those
for client apps in ``lifecycle.py``.

A **lease** is a token in the job's row. Its holder works on the current stage of the job, and may change the row while
the token is in it. Afterwards the methods raise :class:`~app.errors.LeaseLost`.

==================  ===================================================================================
column              meaning
==================  ===================================================================================
``state``           state of the job (``states.py``)
``lease``           token of the lease; null while the job waits, and when it is finished
``leased_by``       process that holds the lease, or held the last one
``heartbeat``       last heartbeat of the lease; null without a lease
``waiting_since``   time at which the job began to wait for its current stage
``tries``           number of leases since the last progress
``starts``          number of times that work on the images began since the last progress
``worked``          seconds of work in the current stage, without the time in which no worker ran
``stalled``         seconds of work since the last progress
==================  ===================================================================================

A **message** on the broker has no content. It wakes a worker of one queue, and the scheduler (``scheduling.py``)
chooses the job. A surplus message has no effect, and the sweep replaces a missing one within ten seconds. Jobs can
therefore be submitted while the broker is down.
"""

import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Update, select
from sqlalchemy.orm import Session, load_only

from app.database.sessions import Database
from app.database.tables import Job
from app.delivery.kinds import Kind
from app.delivery.outbox import enqueue
from app.delivery.payloads import Destination
from app.delivery.result_parts import enqueue_parts
from app.errors import ExtractorError, LeaseLost, TimeLimit, WorkerLost
from app.jobs.description import JobEvents, wants_events
from app.jobs.processes import has_ended, name_process
from app.jobs.queries import JobQueries
from app.jobs.rows import (
    ACTIVITY,
    BEAT,
    END_OF_STAGE,
    PROGRESS,
    START,
    build_ending,
    build_lease,
    change_leased,
    reschedule_results,
    update_job,
)
from app.jobs.scheduling import HOST_JOBS, Scheduler
from app.jobs.states import DELIVER, DOWNLOAD, STAGES, UNFINISHED, Stage, State, stage_of

# Limit of ``starts``. One killed worker may be chance; after two, an image is probably the cause.
MOST_STARTS = 2
# Limit of ``tries``, for a process that dies before it works on images, for example while it loads weights.
MOST_TRIES = 8
EXHAUSTED = (Job.starts >= MOST_STARTS) | (Job.tries >= MOST_TRIES)


class Queue(Protocol):
    """The part of the broker that jobs need."""

    def wake(self, stage: Stage, count: int = 1) -> None:
        """Send messages to the queue of a stage. Never raises, because the sweep sends missing messages."""

    def wake_ahead(self) -> None:
        """Send a message for detection ahead, if the ``gpu`` queue is empty. Never raises."""


class Leases(JobQueries):
    """The jobs of this service, with the changes by workers and the sweep.

    Args:
        database: Database of the jobs.
        queue: Queue that wakes the workers.
        stale_seconds: Seconds without a heartbeat after which a lease is abandoned.
        host_jobs: Number of jobs that may download from one host at a time.
    """

    def __init__(self, database: Database, queue: Queue, stale_seconds: float = 30, host_jobs: int = HOST_JOBS) -> None:
        super().__init__(database)
        self.scheduler = Scheduler(database, host_jobs)
        self._queue = queue
        self._events = JobEvents()
        self._stale_seconds = stale_seconds
        self._leases = {stage: build_lease(stage, self.scheduler.may_be_taken(stage) & ~EXHAUSTED) for stage in STAGES}

    def lease_next(self, stage: Stage) -> Job | None:
        """Lease the job that the scheduler chooses for a stage; return None when no job waits.

        A job that has used up its starts or tries fails instead, because it would probably kill the worker again.
        """
        while True:
            with self.database.session() as session:
                job = self.scheduler.find_next(session, stage)
                if job is None:
                    return None
                leased = self._lease(session, job.id, stage)
                enqueued = leased and wants_events(leased) and self._events.enqueue(session, Kind.STARTED, job.id)
                if leased:
                    self.scheduler.record_served(session, leased, stage)
            if enqueued:
                self._queue.wake(DELIVER)
            if leased:
                return leased
            times = job.starts if job.starts >= MOST_STARTS else job.tries
            error = WorkerLost(f"The worker of the {stage.state} stage died {times} times: the server may lack memory.")
            self._fail(job.id, self.scheduler.may_be_taken(stage) & EXHAUSTED, error)

    def _lease(self, session: Session, job_id: str, stage: Stage) -> Job | None:
        """Lease a job if it may be leased; return its new row, or None."""
        values = {"job_id": job_id, "token": secrets.token_hex(16), "process": name_process(), "now": time.time()}
        return session.scalars(self._leases[stage], values).one_or_none()

    def heartbeat(self, job: Job) -> None:
        """Keep the lease alive."""
        self._record(job, touch=False)

    def record_activity(self, job: Job) -> None:
        """Keep the lease alive, and reset ``stalled`` for work that ``done`` does not count."""
        self._record(job, ACTIVITY)

    def record_start(self, job: Job, model_label: str = "") -> None:
        """Count a start of work on the images. If the process dies after this, an image is a possible cause.

        Args:
            job: Leased job.
            model_label: Label of the weights that the job uses; "" to keep the recorded one.
        """
        values: dict[str, Any] = {"model_label": model_label} if model_label else {}
        self._record(job, START, **values)

    def record_manifest(self, job: Job, manifest_ref: str, total: int) -> None:
        """Record the label of the job's manifest, and the number of its canvases."""
        self._record(job, manifest_ref=manifest_ref, total=total)

    def record_progress(self, job: Job, done: int, total: int, coverage: Mapping[str, Any] | None) -> None:
        """Record the progress of the stage.

        Only a new maximum of ``done`` is progress: it resets ``stalled``, and ``starts`` and ``tries`` to the current
        lease. A stage that resumes may count from 0 again, and would otherwise retry a harmful image without end.
        """
        values: dict[str, Any] = {"coverage": coverage} if coverage is not None else {}
        self._record(job, PROGRESS, event=Kind.PROGRESS, reached=done, total=total, **values)

    def enqueue_result(self, job: Job, to: Destination, parts: Mapping[str, str] | None = None) -> None:
        """Put the result of a job in the outbox: as one delivery, or as one for each part.

        Args:
            job: Leased job.
            to: Destination of the deliveries.
            parts: Digest of the content of each part, by name; None for a single delivery.
        """
        with self.database.session() as session:
            if not change_leased(session, job, BEAT, self._stale_seconds):
                raise LeaseLost(f"Job {job.id} is no longer leased by this worker.")
            if parts is None:
                enqueue(session, job, Kind.RESULT, to)
            else:
                enqueue_parts(session, job, to, parts)
        self._queue.wake(DELIVER, len(parts or {}) - 1)  # the task of the stage sends one itself

    def finish_stage(self, job: Job, stage: Stage, seconds: float, next_state: State | None = None) -> None:
        """Finish a stage, and wake a worker for the next one.

        Args:
            job: Leased job.
            stage: Finished stage.
            seconds: Duration of the stage.
            next_state: Next state; the stage's usual one by default.
        """
        state = next_state or stage.leads_to
        timings = job.timings | {stage.state: round(job.timings.get(stage.state, 0) + seconds, 3)}
        values: dict[str, Any] = {"state": state, "lease": None, "heartbeat": None, "waiting_since": time.time()}
        values |= {"starts": 0, "tries": 0, "timings": timings}
        if stage is DOWNLOAD and state is State.RUNNING:
            values["done"] = 0  # the images are counted again
        if state is State.DONE:
            values |= build_ending(State.DONE)
        self._record(job, END_OF_STAGE, event=Kind.DONE if state is State.DONE else None, **values)
        if following := stage_of(state):
            self._queue.wake(following)

    def fail(self, job: Job, error: ExtractorError) -> None:
        """End a leased job with an error."""
        self._fail(job.id, Job.lease == job.lease, error)

    def hand_over(self, job: Job, stage: Stage, error: ExtractorError) -> None:
        """Free a leased job for another process, or fail it if its starts or tries are used up.

        Args:
            job: Leased job of a process that is about to exit.
            stage: Stage of the job.
            error: Reason for the exit, and error of the job if it fails.
        """
        mine = Job.lease == job.lease
        values: dict[str, Any] = {"lease": None, "heartbeat": None, "waiting_since": time.time()}
        if not self._fail(job.id, mine & EXHAUSTED, error) and self._change(job.id, mine, **values):
            self._queue.wake(stage)

    def release(self, processes: Collection[str]) -> None:
        """Release the leases of processes that shut down. ``tries`` does not count these leases."""
        held = Job.lease.is_not(None) & Job.leased_by.in_(processes)
        with self.database.session() as session:
            jobs = session.scalars(select(Job).where(held)).all()
        values: dict[str, Any] = {"lease": None, "heartbeat": None}
        values |= {"waiting_since": time.time(), "starts": 0, "tries": Job.tries - 1}
        for job in jobs:
            stage = stage_of(State(job.state))
            if stage and self._change(job.id, Job.lease == job.lease, **values):
                self._queue.wake(stage)

    def free_abandoned(self) -> list[Job]:
        """Free the jobs whose worker has ended or sends no heartbeat; wake workers for them. Return these jobs."""
        now = time.time()
        with self.database.session() as session:
            leased = select(Job).where(Job.state.in_(UNFINISHED), Job.lease.is_not(None))
            jobs = session.scalars(leased.options(load_only(Job.state, Job.lease, Job.leased_by, Job.heartbeat))).all()
        abandoned = [job for job in jobs if has_ended(job.leased_by) or self._is_stale(job, now)]
        values: dict[str, Any] = {"lease": None, "heartbeat": None, "waiting_since": now}
        same = [(job, (Job.lease == job.lease) & (Job.heartbeat == job.heartbeat)) for job in abandoned]
        freed = [job for job, unchanged in same if self._change(job.id, unchanged, touch=False, **values)]
        for job in freed:
            if stage := stage_of(State(job.state)):
                self._queue.wake(stage)
        return freed

    def end_overdue(self, stage: Stage, hours: float, stall_minutes: float) -> list[Job]:
        """Fail the jobs whose stage exceeds a time limit, and return them. Their workers stop at the next heartbeat.

        Args:
            stage: Stage of the jobs.
            hours: Time limit of the whole stage.
            stall_minutes: Time limit without progress.
        """
        limits = (
            (Job.worked > 3600 * hours, f"took longer than {hours:g} hours"),
            (Job.stalled > 60 * stall_minutes, f"made no progress for {stall_minutes:g} minutes"),
        )
        ended = []
        for overdue, what in limits:
            late = (Job.state == stage.state) & Job.lease.is_not(None) & overdue
            with self.database.session() as session:
                jobs = session.scalars(select(Job).where(late)).all()
            error = TimeLimit(f"The {stage.state} stage {what}, the limit of this server: retry the job.")
            ended += [job for job in jobs if self._fail(job.id, late & (Job.lease == job.lease), error)]
        return ended

    def _is_stale(self, job: Job, now: float) -> bool:
        # The absolute value also frees jobs whose heartbeat lies in the future, after a clock was set back.
        return abs(now - (job.heartbeat or 0.0)) > self._stale_seconds

    def _record(
        self, job: Job, change: Update = BEAT, *, event: Kind | None = None, touch: bool = True, **values: Any
    ) -> None:
        """Change the row of a leased job, record a heartbeat, and enqueue an event.

        Raises:
            LeaseLost: The job was cancelled, ended or freed.
        """
        with self.database.session() as session:
            if not change_leased(session, job, change, self._stale_seconds, touch=touch, **values):
                raise LeaseLost(f"Job {job.id} is no longer leased by this worker.")
            enqueued = event and wants_events(job) and self._events.enqueue(session, event, job.id)
        if enqueued:
            self._queue.wake(DELIVER)

    def _fail(self, job_id: str, condition: ColumnElement[bool], error: ExtractorError) -> bool:
        """End a job with an error if a condition holds. Deliveries that a retry held back are due again."""
        ending = build_ending(State.FAILED, error_code=error.code, error_message=error.message)
        with self.database.session() as session:
            if not update_job(session, job_id, condition, **ending):
                return False
            reschedule_results(session, job_id, time.time())
            self._events.enqueue(session, Kind.FAILED, job_id)
        self._queue.wake(DELIVER)
        return True

    def _change(self, job_id: str, condition: Any, *, touch: bool = True, **values: Any) -> bool:
        """Change a job's row if a condition holds; return whether it held."""
        with self.database.session() as session:
            return update_job(session, job_id, condition, touch=touch, **values)
