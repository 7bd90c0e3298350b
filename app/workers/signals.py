"""What the workers show of themselves: signs of life of their queues, the job of each log line, the GPU's memory.

It hangs on the signals that Celery sends around every task, so that no task need think of it. One receiver that fails
is logged by Celery and holds up neither the others nor the task.
"""

import sys
from typing import Any

from celery import Task, shared_task
from celery.signals import task_postrun, task_prerun

from app.logs import set_job
from app.monitoring.counters import GPU_MEMORY
from app.workers.queue import CANARY, JobQueue

# A reading of the GPU's memory is shown for so long; the canary renews it while nothing else does.
GAUGE_SECONDS = 120


class Canary(Task):
    """A task that does nothing but come through a queue. It is sent only where nothing else shows a sign of life.

    So canaries never pile up before a worker that is dead or at work, and never make a queue look as if it held jobs.
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
    """Come through."""


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
    """Return bytes by «device kind» of the devices that this process uses; nothing without a GPU."""
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
