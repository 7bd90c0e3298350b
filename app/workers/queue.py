"""The Celery application: three queues on Redis, the schedule, and what is sent to the queues.

========  =======================================================  ==============
queue     messages                                                 worker
========  =======================================================  ==============
``io``    downloads                                                many threads
``gpu``   detection, comparison, training: one job at a time       one process
``post``  deliveries, and the periodic tasks                       threads
========  =======================================================  ==============
"""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery import Celery, current_app
from celery.signals import celeryd_init, setup_logging
from kombu import Queue
from kombu.exceptions import OperationalError

from app.config import Settings
from app.errors import BrokerUnavailable
from app.jobs import Stage
from app.logs import configure_logs
from app.monitoring.heartbeats import QUEUES

if TYPE_CHECKING:
    from app.services import Services

CANARY = "canary"
CANARY_SECONDS = 15.0
SWEEP_SECONDS = 10.0
DAY = 86400


class JobQueue(Celery):
    """The Celery application of this service.

    Args:
        settings: Settings of the process.

    Attributes:
        services: What the tasks work with; set by ``create_app``.
    """

    services: "Services"

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            "extractor",
            broker=settings.broker_url,
            include=["app.workers.tasks", "app.workers.signals"],
            set_as_current=True,
        )
        self.conf.update(_configure(settings))

    def enqueue(self, stage: Stage, job_id: str) -> None:
        """Put a job's id on the queue of a stage.

        Raises:
            BrokerUnavailable: The broker does not answer.
        """
        try:
            self.send_task(stage.task, [job_id], queue=stage.queue, retry=False)
        except OperationalError as error:
            raise BrokerUnavailable("The job cannot be queued now: the broker does not answer. Try later.") from error

    def call_courier(self) -> None:
        """Put a ticket on the queue, for the delivery whose turn it is. Without a broker, the sweep does so later."""
        with suppress(OperationalError):
            self.send_task("deliver_next", queue="post", retry=False)

    def connection_for_write(self, *arguments: Any, transport_options: Any = None, **options: Any) -> Any:
        """Return a connection for sending: a request does not wait for a broker that is away or hangs."""
        hurried = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0} | (transport_options or {})
        return super().connection_for_write(*arguments, transport_options=hurried, **options)

    def queue_is_empty(self, queue: str) -> bool:
        with self.connection_for_read() as connection:
            return connection.default_channel.client.llen(queue) == 0


@celeryd_init.connect  # before the worker's first warning
@setup_logging.connect
def _set_up_logs(loglevel: int | None = None, **_: Any) -> None:
    """Take the place of what Celery does about logs; what libraries print becomes lines of a log."""
    configure_logs(current_app.services.settings.log_format, loglevel or logging.INFO)
    current_app.log.redirect_stdouts()


def _configure(settings: Settings) -> dict[str, Any]:
    return {
        "task_queues": [Queue("io"), Queue("gpu"), Queue("post")],
        "task_default_queue": "post",
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        # A message leaves the broker when its task is over. One whose child dies is tried again after a second;
        # ``max_starts`` bounds that. ``task_reject_on_worker_lost`` would loop for ever on a page that kills.
        "task_acks_late": True,
        "task_retry_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        # A running task survives a broker that goes away for a while.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": round(3600 * settings.visibility_hours),
            "unacked_restore_throttle": 1,  # looked for every 10 s instead of every 100
            "socket_connect_timeout": 2,
            "socket_timeout": 30,
        },
        "beat_schedule": {
            "sweep": {"task": "sweep", "schedule": SWEEP_SECONDS, "options": {"expires": SWEEP_SECONDS}},
            "tidy": {"task": "tidy", "schedule": DAY},
            **{f"{CANARY}-{queue}": _schedule_canary(queue, settings.ready_seconds) for queue in QUEUES},
        },
        "beat_schedule_filename": str(settings.data_folder / "schedule"),
        "worker_hijack_root_logger": False,
    }


def _schedule_canary(queue: str, ready_seconds: float) -> dict[str, Any]:
    seconds = min(CANARY_SECONDS, ready_seconds / 4)
    return {"task": CANARY, "schedule": seconds, "options": {"queue": queue, "expires": seconds}}
