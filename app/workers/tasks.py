"""The tasks: one for each stage, and the periodic ones.

A message only wakes a worker; the database decides which job it runs (see ``app/jobs/leases.py``). The work of a stage
is in ``app/workers/*_stages.py`` and ``app/pipelines``. It is imported inside the task, so that the web process and the
parent of the ``gpu`` worker stay free of torch and CUDA.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Protocol, cast

from billiard.exceptions import WorkerLostError
from billiard.process import current_process
from celery import Task, current_app, shared_task
from celery.signals import task_failure, worker_process_init, worker_ready, worker_shutting_down
from celery.worker import state as worker_state

from app.database.tables import Job
from app.errors import DatabaseUnavailable, ExtractorError, LeaseLost, NoSpace
from app.jobs import EvaluationRequest, Stage, State, TrainingRequest
from app.jobs.job_kinds import find_kind
from app.jobs.processes import name_process
from app.jobs.states import DELIVER, DOWNLOAD, RUN, STAGES
from app.logs import set_job
from app.services import Services
from app.workers.queue import MOST_MESSAGES, JobQueue

log = logging.getLogger(__name__)

# Work of a stage: returns the state that follows, or None for the usual one.
Work = Callable[[Services, Job], State | None]

# Longest time at work on a download: 5000 pages, each 50 s after the last. The slowest rule of iiif/hosts.toml is 15 s.
DOWNLOAD_HOURS = 72.0
# A stage without progress for this long fails its job. Five attempts at an image take 25 minutes, each with the
# longest answer and the longest wait that FetchPolicy allows.
STALL_MINUTES = 30.0
# Jobs that are read at once when old ones are removed.
EXPIRED_AT_ONCE = 500
# Seconds in which a stage must stop after its job was taken away.
GRACE_SECONDS = 5.0


class Stages(Protocol):
    """A module with the stages of a kind of job. Each returns the state that follows, or None for the usual one.

    It joins the settings and stores of a worker to the order of work in ``pipelines``. Only ``run`` imports torch.
    """

    def download(self, services: Services, job: Job) -> State | None:
        """Fetch the manifest, the lists or the data set, and the images."""

    def run(self, services: Services, job: Job) -> State | None:
        """Run the model on the images."""

    def deliver(self, services: Services, job: Job) -> State | None:
        """Put the result in the outbox: a client app that hangs never delays a job."""


def load_stages(job: Job) -> Stages:
    """Import the stages of a job's kind, which the registry names."""
    return cast(Stages, find_kind(job.kind).load_stages())


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


@shared_task(bind=True, base=JobTask, name="deliver")
def deliver(self: JobTask) -> None:
    """Put the result of a job in the outbox; when no job waits for that, send one delivery that is due."""
    if run_stage(self.app, DELIVER, lambda services, job: load_stages(job).deliver(services, job)):
        return
    if self.app.services.dispatcher.deliver_next():
        self.app.send_missing(DELIVER, self.app.services.outbox.count_due(1))


@shared_task(bind=True, base=JobTask, name="sweep")
def sweep(self: JobTask) -> None:
    """End what takes too long, free what a dead worker held, and send the messages that are missing."""
    services = self.app.services
    for stage, hours in ((DOWNLOAD, DOWNLOAD_HOURS), (RUN, services.settings.detect_hours)):
        for job in services.jobs.end_overdue(stage, hours, STALL_MINUTES):
            log.warning("job %s: the %s stage took too long and was ended", job.id, stage.name)
    free_abandoned_jobs(services)
    for stage in STAGES:
        waiting = services.jobs.scheduler.count_waiting(stage, MOST_MESSAGES)
        due = services.outbox.count_due(MOST_MESSAGES) if stage is DELIVER else 0
        self.app.send_missing(stage, waiting + due)


def free_abandoned_jobs(services: Services) -> None:
    """Free the jobs whose worker has ended, and wake others for them."""
    for job in services.jobs.free_abandoned():
        log.warning("job %s: its worker has ended; another continues", job.id)


@shared_task(bind=True, base=JobTask, name="tidy")
def tidy(self: JobTask) -> None:
    """Remove what is no longer needed: unused images and embeddings, old jobs and attempts, incomplete uploads."""
    services = self.app.services
    storage, days = services.storage, services.settings.retention_days
    wanted = services.jobs.list_unfinished_manifests() | services.documents.list_sources_in_use()
    images, embeddings = storage.remove_old_images(days, wanted), storage.remove_old_comparisons(days)
    storage.remove_old_trainings(days, services.jobs.list_unfinished(TrainingRequest.kind, EvaluationRequest.kind))
    leftovers = services.datasets.remove_leftovers()
    removed = "removed %d images and the embeddings of %d documents, unused for %g days, and %d incomplete uploads"
    log.info(removed, images, embeddings, days, leftovers)
    log.info("removed %d old attempts at deliveries", services.outbox.remove_old_attempts())
    if services.settings.result_days:
        log.info("removed %d jobs that finished earlier", remove_expired_jobs(services, services.settings.result_days))


def remove_expired_jobs(services: Services, days: float) -> int:
    """Remove the jobs that finished more than some days ago, with all that is theirs; return their number."""
    before, removed = time.time() - 86400 * days, 0
    while job_ids := services.jobs.list_expired(before, EXPIRED_AT_ONCE):
        for job_id in job_ids:
            services.storage.job(job_id).remove()  # first: the row leads to the files
            services.jobs.remove(job_id)
        removed += len(job_ids)
    return removed


def run_stage(app: JobQueue, stage: Stage, work: Work) -> bool:
    """Lease the job that is next at a stage and work on it; return whether there was one.

    Args:
        app: Celery application of the process.
        stage: Stage to work on.
        work: Work of the stage.
    """
    services = app.services
    job = services.jobs.lease_next(stage)
    if job is None:
        return False
    set_job(job.id)
    _work_on(app, job, stage, work)
    app.send_missing(stage, services.jobs.scheduler.count_waiting(stage, 1))
    return True


def _work_on(app: JobQueue, job: Job, stage: Stage, work: Work) -> None:
    services, started = app.services, time.monotonic()
    log.info("job %s: %s begins", job.id, stage.name)
    try:
        with heartbeat(app, job, stage):
            next_state = work(services, job)
        services.jobs.finish_stage(job, stage, time.monotonic() - started, next_state)
        log.info("job %s: %s is done after %.1f s", job.id, stage.name, time.monotonic() - started)
    except LeaseLost:
        log.info("job %s: %s stops, the job was cancelled or taken away", job.id, stage.name)
    except DatabaseUnavailable:
        log.warning("job %s: %s stops, the database cannot be used: the sweep takes it up again", job.id, stage.name)
    except ExtractorError as error:
        log.warning("job %s: %s failed: %s", job.id, stage.name, error.message)
        services.jobs.fail(job, error)
    except Exception as error:
        log.exception("job %s: %s failed", job.id, stage.name)
        services.jobs.fail(job, _explain(error))


def _explain(error: Exception) -> ExtractorError:
    """Return the message for an unexpected error, or for one of the machine."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return NoSpace("There is no space left on the server's disk: make room and send the job again.")
    return ExtractorError(f"The server failed with {type(error).__name__}: its log has the details under the job's id.")


def list_served_queues(app: JobQueue, stage: Stage) -> set[str]:
    """Return the queue of a stage and all others that this process serves: while it works, it takes no message."""
    return {stage.queue, *app.amqp.queues.consume_from}


@contextmanager
def heartbeat(app: JobQueue, job: Job, stage: Stage) -> Iterator[None]:
    """Send heartbeats of a lease from a thread, however long one step of the work takes.

    When the lease is lost and the work does not stop, the child process of a worker ends itself; its parent starts
    another.
    """
    over, services = threading.Event(), app.services
    queues = list_served_queues(app, stage)

    def beat() -> None:
        while not over.wait(services.settings.heartbeat_seconds):
            try:
                services.jobs.heartbeat(job)
                services.heartbeats.record(*queues)
            except LeaseLost:
                if not over.wait(GRACE_SECONDS) and current_process().name != "MainProcess":
                    log.error("job %s: was taken away and does not stop: this process ends", job.id)
                    os._exit(1)
                return
            except Exception:  # the database may be locked for a moment: the next heartbeat tries again
                log.exception("job %s: a heartbeat failed", job.id)

    thread = threading.Thread(target=copy_context().run, args=(beat,), name=f"heartbeat-{job.id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@worker_process_init.connect
def _discard_inherited_connections(**_: Any) -> None:
    current_app.services.database.discard_connections()


@worker_ready.connect
@task_failure.connect
def _free_at_once(exception: BaseException | None = None, **_: Any) -> None:
    """Free what a worker held that was killed, when it is started again, or when its child was replaced.

    So the interrupted job is the next one of its client app. The sweep alone would free it after others had started.
    """
    if exception is None or isinstance(exception, WorkerLostError):
        free_abandoned_jobs(current_app.services)


@worker_shutting_down.connect
def _release_leases(**_: Any) -> None:
    """Give back the leases of this worker, in a thread: a signal handler must not wait for the database."""
    processes = {name_process(request.worker_pid) for request in worker_state.active_requests}
    threading.Thread(target=current_app.services.jobs.release, args=(processes,), name="release").start()
