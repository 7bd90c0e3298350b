"""The stores and clients that all parts of a process use, in one object built from the settings.

``create_queue`` builds it. Views access it as ``current_services``, tasks as ``self.app.services``.
"""

from functools import cached_property, partial
from typing import TYPE_CHECKING, cast

from flask import current_app
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from werkzeug.local import LocalProxy

from app.config import Settings
from app.database.sessions import Database
from app.delivery.outbox import Outbox
from app.detection.weights import ModelStore, Weights
from app.detection.weights_description import Descriptions
from app.iiif.hosts import KNOWN_HOSTS, HostRule, HostRules
from app.jobs import Jobs
from app.jobs.documents import Documents
from app.jobs.leases import Queue
from app.monitoring.counters import ANSWERS, BYTES, PAGES, Counters
from app.monitoring.heartbeats import QueueHeartbeats
from app.net.addresses import AddressGuard
from app.storage import Storage
from app.training.datasets import DatasetStore, UploadLimits

if TYPE_CHECKING:
    from app.delivery.dispatcher import Dispatcher
    from app.iiif.fetch import Fetcher, FetchPolicy

# A broker that does not answer within this time counts as unavailable.
BROKER_SECONDS = 1
# Time limit of a request to a library while a client waits, including the wait for a slot of the host.
REQUEST_SECONDS = 20.0


class Services:
    """The stores and clients of one process.

    Args:
        settings: Settings of the process.
        queue: Sender of the messages that wake the workers.

    Attributes:
        queue: Sender of the messages that wake the workers.
        database: Sessions on the database.
        storage: Paths and files of the data folder.
        jobs: Jobs and their states.
        documents: Documents of similarity jobs.
        models: Detection weights and the default among them.
        weights_descriptions: Cached contents of weights files: architecture, classes, hash.
        datasets: Data sets for training and evaluation.
        outbox: Deliveries to client apps.
        heartbeats: Time of the last heartbeat of each queue.
        host_rules: Request limits of the libraries' servers.
    """

    def __init__(self, settings: Settings, queue: Queue) -> None:
        self.settings = settings
        self.queue = queue
        self.database = Database(settings.sqlalchemy_url)
        self.storage = Storage(settings.data_folder)
        self.jobs = Jobs(self.database, queue, settings.stale_seconds)
        self.documents = Documents(self.database, self.storage)
        self.models = ModelStore(settings.models_folder, settings.default_model, self.storage.default_model)
        self.weights_descriptions = Descriptions()
        self.datasets = DatasetStore(self.storage.datasets, UploadLimits(int(settings.max_dataset_mb * 1e6)))
        self.outbox = Outbox(self.database)
        self.heartbeats = QueueHeartbeats(self.database)
        default = HostRule(interval_seconds=settings.host_interval_seconds)
        trusted = AddressGuard(frozenset(settings.trusted_hosts))
        self.host_rules = HostRules.load(KNOWN_HOSTS, default, trusted.trusts)

    @cached_property
    def broker(self) -> Redis:
        """The broker as a key-value store, with short timeouts."""
        return self._connect_to_broker(BROKER_SECONDS)

    @cached_property
    def counters(self) -> Counters:
        """The counters that all processes share."""
        return Counters(self.broker)

    @cached_property
    def fetcher(self) -> "Fetcher":
        """The HTTP client for libraries' servers."""
        from app.iiif.fetch import FetchPolicy

        s = self.settings
        return self._build_fetcher(FetchPolicy(s.user_agent, s.fetch_attempts, s.fetch_timeout_seconds))

    @cached_property
    def impatient_fetcher(self) -> "Fetcher":
        """The HTTP client for libraries' servers that is used while a client waits."""
        from app.iiif.fetch import FetchPolicy

        policy = FetchPolicy(self.settings.user_agent, 1, REQUEST_SECONDS, REQUEST_SECONDS, total=REQUEST_SECONDS)
        return self._build_fetcher(policy)

    def _build_fetcher(self, policy: "FetchPolicy") -> "Fetcher":
        from app.iiif.fetch import Fetcher
        from app.iiif.host_limits import HostLimits, SharedLimiter

        limits = HostLimits(self.host_rules, SharedLimiter(self._connect_to_broker(2, retries=1)))
        guard = AddressGuard(self.settings.trusted_addresses)
        return Fetcher(policy, limits, guard, self._count_answer, self.settings.ca_bundle)

    @cached_property
    def dispatcher(self) -> "Dispatcher":
        """The HTTP client that sends deliveries to client apps."""
        from app.delivery.dispatcher import Dispatcher
        from app.jobs.result_payloads import load_payload

        s, load = self.settings, partial(load_payload, jobs=self.jobs, storage=self.storage)
        guard = AddressGuard(s.trusted_addresses)
        return Dispatcher(self.outbox, load, guard, s.user_agent, ca_bundle=s.ca_bundle)

    def _connect_to_broker(self, seconds: float, retries: int = 0) -> Redis:
        retry = Retry(NoBackoff(), retries)
        return Redis.from_url(
            self.settings.broker_url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=retry
        )

    def choose_model_size(self, weights: Weights) -> int:
        """Return the longer side of the network's input: ``MODEL_SIZE``, or the size in the training of the weights."""
        return self.weights_descriptions.describe(weights).choose_size(self.settings.model_size)

    def list_origins_in_use(self, apart_from: str = "") -> set[str]:
        """Return the origins of the documents whose cached images an unfinished job needs.

        Args:
            apart_from: ID of a detection job that is left out.
        """
        return self.jobs.list_unfinished_origins(apart_from) | self.documents.list_sources_in_use()

    def count_pages(self, status: str, number: int) -> None:
        self.counters.add(PAGES, status, number)

    def _count_answer(self, host: str, size: int) -> None:
        self.counters.add_each(host, {ANSWERS: 1, BYTES: size})


# The services of the application that handles the current request or command.
current_services = cast(Services, LocalProxy(lambda: current_app.extensions["services"]))
