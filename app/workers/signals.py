"""Receivers of Celery's signals, which run at the start of a process and around every task.

They limit the threads of numpy, check the rights on the broker, import torch, and reset the job ID of log lines. They
also raise the limit of open files, and record the heartbeats of the queues and the memory of the GPU. Celery logs the
error of a receiver that fails, and continues with the other receivers and the task.
"""

import gc
import importlib
import logging
import os
import resource
import sys
from contextlib import suppress
from typing import Any

from celery import Task, current_app, shared_task
from celery.signals import beat_init, celeryd_init, task_postrun, task_prerun, worker_init
from redis import RedisError

from app.errors import RequestError, SettingsError
from app.jobs.states import RUN
from app.logs import set_job
from app.monitoring.counters import GPU_MEMORY
from app.workers.broker_rights import check_rights, describe_eviction
from app.workers.queue import CANARY, JobQueue

log = logging.getLogger(__name__)

# Open files of a worker: a search keeps the embeddings of each document open. The usual limit is 1024.
OPEN_FILES = 65_536
# Seconds after which the gauge of the GPU's memory expires. On an idle queue, canaries keep it up to date.
GAUGE_SECONDS = 120


class Canary(Task):
    """A task without work, which shows that a worker consumes its queue.

    It is sent only to an empty queue without a recent heartbeat, so that canaries do not pile up before a dead or
    busy worker.
    """

    abstract = True
    app: JobQueue

    def apply_async(self, *arguments: Any, queue: str, **options: Any) -> Any:
        silence = self.app.services.heartbeats.find_silences()[queue]
        if (silence is not None and silence < options["expires"]) or self.app.services.broker.llen(queue):
            return None
        return super().apply_async(*arguments, queue=queue, **options)


@shared_task(base=Canary, name=CANARY)
def canary() -> None:
    """Do nothing. The receivers record the heartbeat."""


@celeryd_init.connect
def _raise_file_limit(**_: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


@celeryd_init.connect
def _limit_threads(**_: Any) -> None:
    """Let OpenBLAS compute with one thread. numpy loads it later, and it reads the variable only then.

    The threads of a worker multiply small matrices at the same time. With more threads each, they wait for each other:
    the verification of a pair of images takes more than twice the processor time.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@celeryd_init.connect
@beat_init.connect
def _check_broker(**_: Any) -> None:
    services = current_app.services
    with suppress(RedisError):  # Celery logs that the broker does not answer, and tries again
        try:
            check_rights(services.broker, services.settings.broker_database)
        except SettingsError as error:
            sys.exit(error.message)
        if warning := describe_eviction(services.broker):
            log.warning(warning)


@worker_init.connect
def _import_detection(**_: Any) -> None:
    """Import torch before the fork, so that a child that replaces a killed one starts a second earlier.

    An import does not initialise CUDA, which a child cannot inherit. Without default weights, the first job imports it.
    """
    if RUN.queue in current_app.amqp.queues.consume_from:
        with suppress(RequestError):
            current_app.services.models.find()
            importlib.import_module("app.detection.loading")
            gc.freeze()


@task_prerun.connect
@task_postrun.connect
def _record_heartbeat(task: Task, **_: Any) -> None:
    task.app.services.heartbeats.record(task.request.delivery_info["routing_key"])


@task_postrun.connect
def _record_gpu_memory(task: Task, **_: Any) -> None:
    if memory := _read_gpu_memory():
        task.app.services.counters.set_gauge(GPU_MEMORY, memory, GAUGE_SECONDS)


@task_postrun.connect
def _forget_job(**_: Any) -> None:
    set_job("")


def _read_gpu_memory() -> dict[str, int]:
    """Return the bytes of memory by "device kind", for the GPUs that this process uses."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    memory = {}
    for device in range(torch.cuda.device_count()):
        if reserved := torch.cuda.memory_reserved(device):
            free, total = torch.cuda.mem_get_info(device)
            memory[f"{device} used"], memory[f"{device} total"] = total - free, total
            memory[f"{device} reserved"], memory[f"{device} allocated"] = reserved, torch.cuda.memory_allocated(device)
    return memory
