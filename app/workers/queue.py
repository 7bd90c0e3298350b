"""The queue: Celery on Redis, what its settings guarantee, and what its tasks work with.

Three queues: ``io`` (downloads; many threads), ``gpu`` (one job at a time, in a process of its own), ``post``
(deliveries and the sweep, which must not wait behind a thousand downloads). A message carries a job's id and nothing
else, and is a place in the line: what is to be done and whose turn it is stands in the table
(``app/jobs/scheduling.py``). A ticket for the courier carries nothing at all: what is due stands in the outbox. A
message too many does nothing.
"""

import logging
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from celery import Celery, current_app
from celery.schedules import crontab
from celery.signals import celeryd_init, setup_logging
from kombu import Queue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.orm import Session

from app.config import Settings
from app.database.tables import Database
from app.delivery.outbox import ENLISTED, Outbox
from app.detection.weights import ModelStore
from app.errors import BrokerUnavailable
from app.iiif.hosts import HostRule, HostRules
from app.jobs import Claims, JobStore, Parts, Stage
from app.jobs.events import Announcements
from app.logs import configure_logs
from app.monitoring.counters import ANSWERS, BYTES, IMAGES, PAGES, PAIRS, Meter
from app.monitoring.heartbeats import QUEUES, Pulses
from app.storage import Storage
from app.training.datasets import DatasetStore, UploadLimits

if TYPE_CHECKING:
    from app.delivery.dispatcher import Courier
    from app.iiif.fetch import Fetcher

CANARY = "canary"
CANARY_SECONDS = 15.0
SWEEP_SECONDS = 10.0
EVERY_SIX_HOURS = crontab(minute="0", hour="*/6")  # times of the clock: a restart does not postpone them


class TaskQueue(Celery):
    """The Celery application of this service, with what its tasks work with.

    Args:
        settings: Of this process.
        database: Where jobs are.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__(
            "extractor",
            include=["app.workers.tasks", "app.workers.signals"],
            set_as_current=True,
        )
        self.settings = settings
        self.database = database
        self.jobs = JobStore(database, self.enqueue, Announcements(settings.notify_seconds))
        self.parts = Parts(self.jobs)
        self.claims = Claims(self.jobs, settings.stale_seconds, settings.max_starts, settings.host_jobs)
        self.storage = Storage(settings.data_folder)
        self.datasets = DatasetStore(self.storage.datasets, _limit_uploads(settings))
        self.models = ModelStore(settings.models_folder, settings.default_model, self.storage.default_model)
        self.pulses = Pulses(database, lambda: self.amqp.queues.consume_from)
        self.outbox = Outbox(database)
        database.on_commit(self._call_courier_for)
        default = HostRule(settings.host_connections, settings.host_interval_seconds)
        self.host_rules = HostRules.load(settings.host_rules, default)
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

    def _call_courier_for(self, session: Session) -> None:
        if session.info.pop(ENLISTED, False):
            self.call_courier()

    def connection_for_write(self, *arguments: Any, transport_options: Any = None, **options: Any) -> Any:
        """Return a connection for sending: a request does not wait for a broker that is away or hangs."""
        hurried = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0} | (transport_options or {})
        return super().connection_for_write(*arguments, transport_options=hurried, **options)

    def queue_is_empty(self, queue: str) -> bool:
        with self.connection_for_read() as connection:
            return connection.default_channel.client.llen(queue) == 0

    @cached_property
    def broker(self) -> Redis:
        """The broker for what must not wait for it: it answers within a second, or an error says so."""
        url = self.settings.broker_url
        return Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))

    @cached_property
    def meter(self) -> Meter:
        return Meter(self.broker)

    def count_page(self, status: str) -> None:
        self.meter.add(PAGES, status)

    def count_comparison(self, what: str, number: int) -> None:
        """Count what became of images or pairs of similarity jobs: ``image embedded``, ``pair known``."""
        thing, status = what.split(" ")
        self.meter.add(IMAGES if thing == "image" else PAIRS, status, number)

    def _count_answer(self, host: str, size: int) -> None:
        self.meter.add(ANSWERS, host)
        self.meter.add(BYTES, host, size)

    @cached_property
    def fetcher(self) -> "Fetcher":
        from app.iiif.fetch import Fetcher, FetchPolicy
        from app.iiif.host_limits import HostLimits
        from app.iiif.request_counts import SharedLedger
        from app.net.addresses import AddressGuard

        s = self.settings
        policy = FetchPolicy(
            user_agent=s.user_agent,
            attempts=s.fetch_attempts,
            timeout=s.fetch_timeout_seconds,
            deadline=s.fetch_deadline_seconds,
            retry_after_limit=s.retry_after_limit_seconds,
            max_document_bytes=int(s.max_document_mb * 1e6),
            max_image_bytes=int(s.max_image_mb * 1e6),
            max_image_pixels=int(s.max_image_megapixels * 1e6),
        )
        broker = Redis.from_url(s.broker_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1))
        limits, guard = HostLimits(self.host_rules, SharedLedger(broker)), AddressGuard(s.trusted_addresses)
        return Fetcher(policy, limits, guard, self._count_answer)

    @cached_property
    def courier(self) -> "Courier":
        from app.delivery.dispatcher import Courier
        from app.net.addresses import AddressGuard
        from app.pipelines.payload_loading import load_parcel

        s, load = self.settings, partial(load_parcel, jobs=self.jobs, storage=self.storage)
        return Courier(self.outbox, load, AddressGuard(s.trusted_addresses), s.user_agent, s.delivery_timeout_seconds)


@celeryd_init.connect  # before the worker's first warning
@setup_logging.connect
def _set_up_logs(loglevel: int | None = None, **_: Any) -> None:
    """Take the place of what Celery does about logs; what libraries print becomes lines of a log."""
    configure_logs(current_app.settings.log_format, loglevel or logging.INFO)
    current_app.log.redirect_stdouts()


def _limit_uploads(settings: Settings) -> UploadLimits:
    return UploadLimits(
        upload_bytes=int(settings.max_dataset_mb * 1e6),
        image_bytes=int(settings.max_image_mb * 1e6),
        image_pixels=int(settings.max_image_megapixels * 1e6),
        seconds=settings.dataset_seconds,
    )


def _configure(settings: Settings) -> dict[str, Any]:
    return {
        # Celery prefers CELERY_BROKER_URL of the environment to its ``broker_url``, and that has no database number.
        "broker_read_url": settings.broker_url,
        "broker_write_url": settings.broker_url,
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
            "tidy": {"task": "tidy", "schedule": EVERY_SIX_HOURS},
            **{f"{CANARY}-{queue}": _schedule_canary(queue, settings.ready_seconds) for queue in QUEUES},
        },
        "beat_scheduler": "celery.beat:Scheduler",  # in memory: no file to be missing, unwritable or broken
        "worker_hijack_root_logger": False,
    }


def _schedule_canary(queue: str, ready_seconds: float) -> dict[str, Any]:
    seconds = min(CANARY_SECONDS, ready_seconds / 4)
    return {"task": CANARY, "schedule": seconds, "options": {"queue": queue, "expires": seconds}}
