"""Celery tasks: one for each stage, and the periodic tasks.

A message only wakes a worker; the database decides which job it runs (see ``app/jobs/leases.py``). The work of a stage
is in ``app/workers/*_stages.py`` and ``app/pipelines``. Tasks import it when they run, so that only the ``gpu`` worker
loads torch. Its parent imports it, and only its child uses it and CUDA.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol, cast

from billiard.exceptions import WorkerLostError
from billiard.process import current_process
from celery import Task, current_app, shared_task
from celery.signals import task_failure, worker_process_init, worker_ready, worker_shutting_down
from celery.worker import state as worker_state

from app.database.tables import Delivery, Job
from app.delivery.endpoints import remove_ended_pauses
from app.devices import is_device_lost
from app.errors import DatabaseUnavailable, ExtractorError, LeaseLost
from app.jobs import Stage, State
from app.jobs.job_kinds import KINDS, find_kind
from app.jobs.processes import name_process
from app.jobs.states import DELIVER, DOWNLOAD, RUN
from app.logs import set_job
from app.services import Services
from app.workers.failures import explain, leave_device
from app.workers.queue import AHEAD, MOST_MESSAGES, JobQueue

log = logging.getLogger(__name__)

# Work of a stage. It returns the next state, or None for the stage's usual one.
Work = Callable[[Services, Job], State | None]

# Time limit of a download. It allows 5000 pages at 50 s each; the slowest rule of iiif/hosts.toml needs 15 s a page.
DOWNLOAD_HOURS = 72.0
# Time limit without progress. Five attempts to fetch an image take 25 minutes at most: each waits for the deadline of
# FetchPolicy, and then for its longest Retry-After.
STALL_MINUTES = 30.0
# Number of jobs per query when old jobs are removed.
EXPIRED_AT_ONCE = 500
# Seconds in which a stage must stop after it has lost its lease.
GRACE_SECONDS = 5.0


class Stages(Protocol):
    """A module with the stages of a kind of job. Each returns the next state, or None for the stage's usual one.

    The module passes the settings and stores of a worker to ``app/pipelines``. Importing it does not import torch.
    """

    def download(self, services: Services, job: Job) -> State | None:
        """Fetch the manifest, the lists or the data set, and the images."""

    def run(self, services: Services, job: Job) -> State | None:
        """Run the model on the images."""

    def deliver(self, services: Services, job: Job) -> State | None:
        """Put the result in the outbox, or publish the weights.

        The dispatcher sends the result later, so a client app that hangs never delays a job.
        """


def load_stages(job: Job) -> Stages:
    """Import the stages of a job's kind."""
    return cast(Stages, find_kind(job.kind).import_stages())


class JobTask(Task):
    """A task of this service."""

    abstract = True
    app: JobQueue


@shared_task(bind=True, base=JobTask, name="download")
def download(self: JobTask) -> None:
    """Fetch the manifest and the images of a job."""
    run_stage(self.app, DOWNLOAD, lambda services, job: load_stages(job).download(services, job))


@shared_task(bind=True, base=JobTask, name="run")
def run(self: JobTask) -> None:
    """Run the model on the images of a job."""
    run_stage(self.app, RUN, lambda services, job: load_stages(job).run(services, job))


# No lease ends a step that hangs, so the parent of the process does.
@shared_task(bind=True, base=JobTask, name=AHEAD, time_limit=60 * STALL_MINUTES)
def detect_ahead(self: JobTask) -> None:
    """Detect pages of a job that still downloads, unless a job waits for the stage ``run``."""
    from app.workers import detection_stages

    if self.app.services.jobs.scheduler.count_waiting(RUN, 1):
        self.app.send_missing(RUN, lambda _: 1)
    elif detection_stages.detect_ahead(self.app.services):
        self.app.wake_ahead()


@shared_task(bind=True, base=JobTask, name="deliver")
def deliver(self: JobTask) -> None:
    """Put the result of a job in the outbox, if a job waits for this. Then send one due delivery."""
    job = run_stage(self.app, DELIVER, lambda services, job: load_stages(job).deliver(services, job))

    def begin(delivery: Delivery) -> None:
        if job and delivery.job_id != job.id:  # then no message is left for a delivery of this job
            self.app.wake(DELIVER)

    if self.app.services.dispatcher.deliver_next(begin):
        self.app.send_missing(DELIVER, self.app.services.outbox.count_due)


@shared_task(bind=True, base=JobTask, name="sweep")
def sweep(self: JobTask) -> None:
    """Fail overdue jobs, free the jobs of dead workers, and send missing messages."""
    services = self.app.services
    for stage, hours in ((DOWNLOAD, DOWNLOAD_HOURS), (RUN, services.settings.detect_hours)):
        for job in services.jobs.end_overdue(stage, hours, STALL_MINUTES):
            log.warning("job %s: the %s stage took too long and was ended", job.id, stage.name)
    free_abandoned_jobs(services)
    count_waiting, count_due = services.jobs.scheduler.count_waiting, services.outbox.count_due
    for stage in (DOWNLOAD, RUN):
        self.app.send_missing(stage, partial(count_waiting, stage), MOST_MESSAGES)
    self.app.send_missing(DELIVER, lambda most: count_waiting(DELIVER, most) + count_due(most), MOST_MESSAGES)


def free_abandoned_jobs(services: Services) -> None:
    """Free the jobs whose worker has ended or sends no heartbeat, and wake other workers for them."""
    for job in services.jobs.free_abandoned():
        log.warning("job %s: its worker has ended or sends no heartbeat; another continues", job.id)


@shared_task(bind=True, base=JobTask, name="tidy")
def tidy(self: JobTask) -> None:
    """Remove unused images and embeddings, incomplete uploads, old attempts, and old jobs."""
    services = self.app.services
    storage, days = services.storage, services.settings.retention_days
    images = storage.remove_old_images(days, services.list_origins_in_use())
    embeddings = storage.remove_old_comparisons(days)
    unfinished = services.jobs.list_unfinished(*KINDS)
    storage.remove_old_trainings(days, unfinished)
    files = storage.remove_old_sources(days, unfinished)
    leftovers = services.datasets.remove_leftovers()
    storage.delete_discarded()
    remove_ended_pauses(services.database)
    removed = "removed %d images, %d files of pages and the embeddings of %d documents (unused for %g days), and %d "
    log.info(removed + "incomplete uploads", images, files, embeddings, days, leftovers)
    log.info("removed %d old records of delivery attempts", services.outbox.remove_old_attempts())
    if services.settings.result_days:
        log.info("removed %d old jobs", remove_expired_jobs(services, services.settings.result_days))


def remove_expired_jobs(services: Services, days: float) -> int:
    """Remove the jobs that finished more than some days ago, with their files; return their number."""
    before, removed = time.time() - 86400 * days, 0
    while job_ids := services.jobs.list_expired(before, EXPIRED_AT_ONCE):
        removed += sum(services.jobs.remove(job_id, services.storage.discard_job, before) for job_id in job_ids)
        services.storage.delete_discarded()
    return removed


def run_stage(app: JobQueue, stage: Stage, work: Work) -> Job | None:
    """Lease the next job of a stage and work on it; return the job, or None if there was none.

    Args:
        app: Celery application of the process.
        stage: Stage to work on.
        work: Work of the stage.
    """
    services = app.services
    job = services.jobs.lease_next(stage)
    if job:
        set_job(job.id)
        _work_on(app, job, stage, work)
        app.send_missing(stage, partial(services.jobs.scheduler.count_waiting, stage))
    return job


def _work_on(app: JobQueue, job: Job, stage: Stage, work: Work) -> None:
    services, started = app.services, time.monotonic()
    log.info("job %s: %s begins", job.id, stage.name)
    try:
        with heartbeat(app, job, stage):
            next_state = work(services, job)
        services.jobs.finish_stage(job, stage, time.monotonic() - started, next_state)
        log.info("job %s: %s is done after %.1f s", job.id, stage.name, time.monotonic() - started)
    except LeaseLost:
        log.info(
            "job %s: %s stops because its lease is lost (the job was cancelled, ended or freed)", job.id, stage.name
        )
    except DatabaseUnavailable:
        log.warning("job %s: %s stops because the database cannot be used; the sweep frees the job", job.id, stage.name)
    except ExtractorError as error:
        log.warning("job %s: %s failed: %s", job.id, stage.name, error.message)
        services.jobs.fail(job, error)
    except Exception as error:
        log.exception("job %s: %s failed", job.id, stage.name)
        if is_device_lost(error):
            leave_device(services, job, stage, error)
        else:
            services.jobs.fail(job, explain(error))


def list_served_queues(app: JobQueue, stage: Stage) -> set[str]:
    """Return the queues that this process serves, including the queue of the stage."""
    return {stage.queue, *app.amqp.queues.consume_from}


@contextmanager
def heartbeat(app: JobQueue, job: Job, stage: Stage) -> Iterator[None]:
    """Send heartbeats of a lease and of the served queues from a thread.

    If the work does not stop after the lease is lost, the child process of a worker exits. Its parent starts another.
    """
    stopped, services = threading.Event(), app.services
    queues = list_served_queues(app, stage)

    def beat() -> None:
        while not stopped.wait(services.settings.heartbeat_seconds):
            try:
                services.jobs.heartbeat(job)
                services.heartbeats.record(*queues)
            except LeaseLost:
                if not stopped.wait(GRACE_SECONDS) and current_process().name != "MainProcess":
                    log.error("job %s: its lease is lost but it does not stop: this process exits", job.id)
                    os._exit(1)
                return
            except Exception:  # such as a locked database: the next heartbeat tries again
                log.exception("job %s: a heartbeat failed", job.id)

    thread = threading.Thread(target=copy_context().run, args=(beat,), name=f"heartbeat-{job.id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@worker_process_init.connect
def _start_child(**_: Any) -> None:
    current_app.services.database.discard_connections()
    _load_default_weights(current_app)


@worker_ready.connect
def _start_threads(sender: Any, **_: Any) -> None:
    if "prefork" not in type(sender.pool).__module__:  # there, the child loads the weights
        _load_default_weights(sender.app)


def _load_default_weights(app: JobQueue) -> None:
    """Load the default weights in the process that runs models.

    A failure is only logged; a job that needs the weights reports it.
    """
    if RUN.queue not in app.amqp.queues.consume_from:
        return
    started = time.monotonic()
    try:
        from app.workers.detection_stages import load_default_weights

        load_default_weights(app.services)
        log.info("the default weights are loaded after %.1f s", time.monotonic() - started)
    except ExtractorError as error:
        log.warning("the default weights cannot be loaded before the first job: %s", error.message)


@worker_ready.connect
@task_failure.connect
def _free_at_once(exception: BaseException | None = None, **_: Any) -> None:
    """Free the jobs of a killed worker when it restarts, or when its killed child is replaced.

    The interrupted job is then the next one of its client app. The sweep alone would free it after other jobs started.
    """
    if exception is None or isinstance(exception, WorkerLostError):
        free_abandoned_jobs(current_app.services)


@worker_shutting_down.connect
def _release_leases(**_: Any) -> None:
    """Release the leases of this worker in a thread, because a signal handler must not wait for the database."""
    processes = {name_process(request.worker_pid) for request in worker_state.active_requests}
    threading.Thread(target=current_app.services.jobs.release, args=(processes,), name="release").start()
