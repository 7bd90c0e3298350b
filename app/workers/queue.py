"""The Celery application: three queues on Redis, their schedule, and the messages to them.

========  ================================================  ==============
queue     tasks                                             worker
========  ================================================  ==============
``io``    ``download``                                      threads
``gpu``   ``run``: detection, comparison, training;         one process
          ``detect_ahead``
``post``  ``deliver``, and the periodic tasks               threads
========  ================================================  ==============

Each queue also gets canaries (``signals.py``).
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery import Celery, current_app
from celery.schedules import crontab
from celery.signals import celeryd_init, setup_logging
from kombu import Queue
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel
from redis import RedisError

from app.config import Settings
from app.jobs.states import QUEUES, RUN, Stage
from app.logs import configure_logs

if TYPE_CHECKING:
    from app.services import Services

log = logging.getLogger(__name__)

# Most messages that one call sends: one for every thread of a worker. Each task then sends a message for the next job.
MOST_MESSAGES = 32
AHEAD = "detect_ahead"
CANARY = "canary"
CANARY_SECONDS = 15.0
SWEEP_SECONDS = 10.0
EVERY_SIX_HOURS = crontab(minute="0", hour="*/6")  # wall-clock times, so that a restart does not postpone it


class JobQueue(Celery):
    """The Celery application of this service.

    Args:
        settings: Settings of the process.

    Attributes:
        services: Services of the process, used by the tasks; set by ``create_queue``.
    """

    services: "Services"

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            "extractor",
            include=["app.workers.tasks", "app.workers.signals"],
            set_as_current=True,
        )
        self.conf.update(_configure(settings))
        # Otherwise kombu would send the messages of running tasks again when it closes, or write them to a file.
        Channel.do_restore = False

    def wake(self, stage: Stage, count: int = 1) -> None:
        """Send messages to the queue of a stage.

        Never raises, and waits one second at most. If the broker is down, the sweep sends the messages later.

        Args:
            stage: Stage for which jobs wait.
            count: Number of jobs.
        """
        try:
            for _ in range(min(count, MOST_MESSAGES)):
                self.send_task(stage.name, queue=stage.queue, retry=False)
        except OperationalError:
            log.warning("The broker does not answer: the sweep wakes the workers of queue %s later", stage.queue)

    def wake_ahead(self) -> None:
        """Send a message for detection ahead, if the ``gpu`` queue is empty. Never raises: it only saves time."""
        with suppress(OperationalError, RedisError):
            if not self.services.broker.llen(RUN.queue):
                self.send_task(AHEAD, queue=RUN.queue, retry=False)

    def send_missing(self, stage: Stage, count: Callable[[int], int], most: int = 1) -> None:
        """Send the messages that are missing in the queue of a stage, up to a number of messages in the queue.

        Args:
            stage: Stage for which jobs wait.
            count: Function that counts the waiting jobs and due deliveries, up to a limit.
            most: Number of messages in the queue that is enough.
        """
        with suppress(RedisError):
            sent = int(self.services.broker.llen(stage.queue))
            if sent < most:
                self.wake(stage, count(most) - sent)

    def connection_for_write(self, *arguments: Any, transport_options: Any = None, **options: Any) -> Any:
        """Return a connection for sending, with short time-outs: requests do not wait for a broker that is down."""
        short = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0} | (transport_options or {})
        return super().connection_for_write(*arguments, transport_options=short, **options)


@celeryd_init.connect  # before the worker's first warning
@setup_logging.connect
def _set_up_logs(loglevel: int | None = None, **_: Any) -> None:
    """Replace Celery's log configuration. Output that libraries print is logged, too."""
    configure_logs(current_app.services.settings.log_format, loglevel or logging.INFO)
    current_app.log.redirect_stdouts()


def _configure(settings: Settings) -> dict[str, Any]:
    return {
        # Celery prefers CELERY_BROKER_URL of the environment, which has no database number, to ``broker_url``.
        "broker_read_url": settings.broker_url,
        "broker_write_url": settings.broker_url,
        "task_queues": [Queue("io"), Queue("gpu"), Queue("post")],
        "task_default_queue": "post",
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        # Messages are acknowledged when their task ends, so a busy worker takes no second message.
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        # A child of the gpu worker loads torch and the default weights before it counts as started.
        "worker_proc_alive_timeout": 120.0,
        # A running task continues while the broker is down.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            # The broker keeps no copies of the messages of running tasks: the sweep is enough. With copies, kombu 5.7.0
            # fails to close a connection whose broker has ended. The worker then ends, after its running tasks.
            "ack_emulation": False,
            "socket_connect_timeout": 2,
            "socket_timeout": 30,
        },
        "beat_schedule": {
            "sweep": {"task": "sweep", "schedule": SWEEP_SECONDS, "options": {"expires": SWEEP_SECONDS}},
            "tidy": {"task": "tidy", "schedule": EVERY_SIX_HOURS},
            **{f"{CANARY}-{queue}": _schedule_canary(queue, settings.ready_seconds) for queue in QUEUES},
        },
        "beat_scheduler": "celery.beat:Scheduler",  # in memory, without a schedule file
        "worker_hijack_root_logger": False,
    }


def _schedule_canary(queue: str, ready_seconds: float) -> dict[str, Any]:
    seconds = min(CANARY_SECONDS, ready_seconds / 4)
    return {"task": CANARY, "schedule": seconds, "options": {"queue": queue, "expires": seconds}}
