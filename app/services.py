"""What the processes of the service share: one object, made once from the settings.

``create_app`` makes it. A view has it as ``current_services``, a task as ``self.app.services``.
"""

from functools import cached_property, partial
from typing import TYPE_CHECKING, cast

from flask import current_app
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from werkzeug.local import LocalProxy

from app.config import Settings
from app.database.tables import Database
from app.delivery.outbox import ENLISTED, Outbox
from app.detection.weights import ModelStore
from app.detection.weights_description import Descriptions
from app.iiif.hosts import HostRule, HostRules
from app.jobs import Claims, JobStore, Parts
from app.jobs.documents import Documents
from app.jobs.events import Announcements
from app.monitoring.counters import ANSWERS, BYTES, IMAGES, PAGES, PAIRS, Meter
from app.monitoring.heartbeats import QueueHeartbeats
from app.storage import Storage
from app.training.datasets import DatasetStore, UploadLimits

if TYPE_CHECKING:
    from app.delivery.dispatcher import Courier
    from app.iiif.fetch import Fetcher
    from app.workers.queue import JobQueue

# A broker that does not answer within this counts as away.
BROKER_SECONDS = 1


class Services:
    """The stores and clients of one process.

    Args:
        settings: Settings of the process.
        queue: Sends to the queues.

    Attributes:
        database: Sessions on the database.
        storage: Paths and files of the data folder.
        jobs: Jobs and their states.
        documents: Documents of similarity jobs.
        models: Detection weights.
        descriptions: What each weights file contains.
        datasets: Data sets for training and evaluation.
        outbox: Deliveries to client apps.
        heartbeats: Last sign of life of each queue.
        host_rules: Limits of libraries' servers.
    """

    def __init__(self, settings: Settings, queue: "JobQueue") -> None:
        self.settings = settings
        self.database = Database(settings.sqlalchemy_url)
        self.storage = Storage(settings.data_folder)
        self.jobs = JobStore(self.database, queue.enqueue, Announcements(settings.notify_seconds))
        self.parts = Parts(self.jobs)
        self.claims = Claims(self.jobs, settings.stale_seconds, settings.max_starts, settings.host_jobs)
        self.documents = Documents(self.database, self.storage)
        self.models = ModelStore(settings.models_folder, settings.default_model, self.storage.default_model)
        self.descriptions = Descriptions()
        self.datasets = DatasetStore(self.storage.datasets, _limit_uploads(settings))
        self.outbox = Outbox(self.database)
        self.database.on_commit(lambda session: queue.call_courier() if session.info.pop(ENLISTED, False) else None)
        self.heartbeats = QueueHeartbeats(self.database)
        default = HostRule(settings.host_connections, settings.host_interval_seconds)
        self.host_rules = HostRules.load(settings.host_rules, default)

    @cached_property
    def broker(self) -> Redis:
        """The broker as a key-value store, with short time-outs."""
        return self._connect_to_broker(BROKER_SECONDS)

    @cached_property
    def counters(self) -> Meter:
        """The counters that all processes add to."""
        return Meter(self.broker)

    @cached_property
    def fetcher(self) -> "Fetcher":
        """The HTTP client for libraries' servers."""
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
        limits = HostLimits(self.host_rules, SharedLedger(self._connect_to_broker(2, retries=1)))
        return Fetcher(policy, limits, AddressGuard(s.trusted_addresses), self._count_answer)

    @cached_property
    def dispatcher(self) -> "Courier":
        """The HTTP client that sends deliveries to client apps."""
        from app.delivery.dispatcher import Courier
        from app.net.addresses import AddressGuard
        from app.pipelines.payload_loading import load_parcel

        s, load = self.settings, partial(load_parcel, jobs=self.jobs, storage=self.storage)
        return Courier(self.outbox, load, AddressGuard(s.trusted_addresses), s.user_agent, s.delivery_timeout_seconds)

    def _connect_to_broker(self, seconds: float, retries: int = 0) -> Redis:
        retry = Retry(NoBackoff(), retries)
        return Redis.from_url(
            self.settings.broker_url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=retry
        )

    def count_page(self, status: str) -> None:
        self.counters.add(PAGES, status)

    def count_comparison(self, what: str, number: int) -> None:
        """Count images or pairs of similarity jobs: ``image embedded``, ``pair known``."""
        thing, status = what.split(" ")
        self.counters.add(IMAGES if thing == "image" else PAIRS, status, number)

    def _count_answer(self, host: str, size: int) -> None:
        self.counters.add(ANSWERS, host)
        self.counters.add(BYTES, host, size)


# The services of the application that handles the present request or command.
current_services = cast(Services, LocalProxy(lambda: current_app.extensions["services"]))


def _limit_uploads(settings: Settings) -> UploadLimits:
    return UploadLimits(
        upload_bytes=int(settings.max_dataset_mb * 1e6),
        image_bytes=int(settings.max_image_mb * 1e6),
        image_pixels=int(settings.max_image_megapixels * 1e6),
        seconds=settings.dataset_seconds,
    )
