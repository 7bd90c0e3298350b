"""The tasks: one short task a stage, and what happens when one fails, is cancelled or dies.

The job that a message names has made a place in the line; the task works on the one whose turn it is.

What a stage does stands in ``app/stages`` and ``app/pipelines``; it is imported inside the task, so that the web
process and the worker's parent stay free of torch and CUDA.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any

from billiard.process import current_process
from celery import Task, current_app, shared_task
from celery.signals import worker_process_init, worker_shutting_down
from celery.worker import state as worker_state

from app.database.tables import Job
from app.errors import BrokerUnavailable, ClaimLost, DatabaseUnavailable, ExtractorError, NoSpace
from app.jobs import Claims, EvaluationRequest, Stage, State, TrainingRequest
from app.jobs.processes import name_worker
from app.jobs.states import DELIVER, DETECT, DOWNLOAD
from app.logs import set_job
from app.workers.queue import JobQueue

log = logging.getLogger(__name__)


# Seconds in which a stage whose job was taken away must come to an end by itself.
GRACE_SECONDS = 5.0
# Deliveries for which the sweep calls the courier at once: as many as the worker has threads.
MOST_CALLS = 16


@worker_process_init.connect
def _leave_parent_connections(**_: Any) -> None:
    current_app.services.database.leave_to_parent()


@worker_shutting_down.connect
def _give_claims_back(**_: Any) -> None:
    """Let others go on with what this worker does: its stages stop at their next step. Called in a signal handler."""
    at_work = [
        (each.id, each.request_dict.get("retries", 0), name_worker(each.worker_pid))
        for each in worker_state.active_requests
    ]
    threading.Thread(target=_release, args=(current_app.services.claims, at_work), name="release").start()


def _release(claims: Claims, at_work: list[tuple[str, int, str]]) -> None:
    for message, retries, worker in at_work:
        with suppress(BrokerUnavailable):  # the job is free all the same: the sweep queues it
            claims.release(message, retries, worker)


class QueueTask(Task):
    """A task of this queue; when the child that runs it dies, it is tried again after a second."""

    abstract = True
    app: JobQueue
    default_retry_delay = 1


def run_stage(task: QueueTask, stage: Stage, work: Callable[[Job], State | None]) -> None:
    """Claim a stage of the job whose turn it is, keep the claim alive, and hand the job on or fail it with the reason.

    ``work`` returns the state that follows, or None for the one that follows as a rule.
    """
    claims = task.app.services.claims
    job = claims.claim(stage, task.request.id, task.request.retries)
    if job is None:
        return
    set_job(job.id)
    log.info("job %s: %s begins", job.id, stage.task)
    started = time.monotonic()
    try:
        with heartbeat(task.app, job, stage):
            leads_to = work(job)
        claims.hand_over(job, stage, time.monotonic() - started, leads_to)
        log.info("job %s: %s is done after %.1f s", job.id, stage.task, time.monotonic() - started)
    except ClaimLost:
        log.info("job %s: %s stops, the job was cancelled or taken over", job.id, stage.task)
    except BrokerUnavailable:
        log.warning("job %s: %s is done, the broker is away: the sweep will queue what follows", job.id, stage.task)
    except DatabaseUnavailable:
        log.warning("job %s: %s stops, the database cannot be used: the sweep takes it up again", job.id, stage.task)
    except ExtractorError as error:
        log.warning("job %s: %s failed: %s", job.id, stage.task, error.message)
        claims.fail(job, error)
    except Exception as error:
        log.exception("job %s: %s failed", job.id, stage.task)
        claims.fail(job, _explain(error))


def _explain(error: Exception) -> ExtractorError:
    """Return the sentence for an error that nobody foresaw, or of the machine."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return NoSpace("There is no space left on the server's disk: make room and send the job again.")
    return ExtractorError(f"The server failed with {type(error).__name__}: its log has the details under the job's id.")


def list_served_queues(app: JobQueue, stage: Stage) -> set[str]:
    """Return the queue of a stage, and all others that this process serves: while it works, it takes no message."""
    return {stage.queue, *app.amqp.queues.consume_from}


@contextmanager
def heartbeat(app: JobQueue, job: Job, stage: Stage) -> Iterator[None]:
    """Keep a claim alive from a thread of its own, however long one step of the work takes.

    When the claim is lost and the work does not stop by itself, a worker's child ends itself; its parent starts
    another.
    """
    over, services = threading.Event(), app.services
    queues = list_served_queues(app, stage)

    def beat() -> None:
        while not over.wait(services.settings.heartbeat_seconds):
            try:
                services.claims.beat(job)
                services.heartbeats.record(*queues)
            except ClaimLost:
                if not over.wait(GRACE_SECONDS) and current_process().name != "MainProcess":
                    log.error("job %s: was taken away and does not stop: this process ends", job.id)
                    os._exit(1)
                return
            except Exception:  # the database may be locked for a moment: the next beat tries again
                log.exception("job %s: a heartbeat failed", job.id)

    thread = threading.Thread(target=copy_context().run, args=(beat,), name=f"heartbeat-{job.id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@shared_task(bind=True, base=QueueTask, name="download")
def download(self: QueueTask, job_id: str) -> None:
    """Fetch what a job is about, and its images."""
    from app.workers.stages import choose_stages

    run_stage(self, DOWNLOAD, lambda job: choose_stages(job).download(self.app.services, job))


@shared_task(bind=True, base=QueueTask, name="detect")
def detect(self: QueueTask, job_id: str) -> None:
    """Look at the images of a job: find illustrations, or compare them."""
    from app.workers.stages import choose_stages

    run_stage(self, DETECT, lambda job: choose_stages(job).run(self.app.services, job))


@shared_task(bind=True, base=QueueTask, name="deliver")
def deliver(self: QueueTask, job_id: str) -> None:
    """Put the result of a job in the outbox."""
    from app.workers.stages import choose_stages

    run_stage(self, DELIVER, lambda job: choose_stages(job).deliver(self.app.services, job))


@shared_task(bind=True, base=QueueTask, name="deliver_next")
def deliver_next(self: QueueTask) -> None:
    """Try the delivery whose turn it is, if any, once; then ask for the next."""
    if self.app.services.dispatcher.deliver_next():
        self.app.call_courier()


@shared_task(bind=True, base=QueueTask, name="sweep")
def sweep(self: QueueTask) -> None:
    """End what takes too long; queue again what nobody works on any more, and call the courier for what is due."""
    s = self.app.services.settings
    for stage, hours in ((DOWNLOAD, s.download_hours), (DETECT, s.detect_hours)):
        for job in self.app.services.claims.end_overdue(stage, hours, s.stall_minutes):
            log.warning("job %s: %s was ended: it took too long", job.id, stage.task)
    for job in self.app.services.claims.free_stranded(self.app.queue_is_empty):
        log.warning("job %s: nobody works on it any more, it goes back on its queue", job.id)
        self.app.services.jobs.send(job)
    if self.app.queue_is_empty("post"):  # else those who are called already see to what is due
        for _ in range(self.app.services.outbox.count_due(MOST_CALLS)):
            self.app.call_courier()


@shared_task(bind=True, base=QueueTask, name="tidy")
def tidy(self: QueueTask) -> None:
    """Remove the images, embeddings and cached scores that no job has used for ``RETENTION_DAYS``, and leftovers."""
    storage, days = self.app.services.storage, self.app.services.settings.retention_days
    documents = self.app.services.documents
    wanted = self.app.services.jobs.list_unfinished_manifests() | documents.list_wanted()
    images, embeddings = storage.remove_old_images(days, wanted), storage.remove_old_comparisons(days)
    trainings = self.app.services.jobs.list_unfinished(TrainingRequest.kind, EvaluationRequest.kind)
    storage.remove_old_trainings(days, trainings)
    leftovers = self.app.services.datasets.remove_leftovers()
    log.info("%d leftovers of uploads that were broken off were removed", leftovers)
    log.info(
        "%d images and the embeddings of %d documents were removed: no job has used them for %g days",
        images,
        embeddings,
        days,
    )
