"""Prometheus metrics, read from the database and the broker at each scrape.

Names follow https://prometheus.io/docs/practices/naming/. When the database or the broker is down, its metrics are
missing, and ``extractor_database_up`` or ``extractor_broker_up`` is 0.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis, RedisError
from sqlalchemy import func, select

from app.config import VERSION
from app.database.sessions import Database
from app.database.tables import Delivery, Job
from app.delivery.kinds import Status
from app.errors import DatabaseUnavailable
from app.jobs.states import QUEUES, UNFINISHED, State, stage_of
from app.monitoring.counters import ANSWERS, BYTES, GPU_MEMORY, IMAGE_PAIRS, IMAGES, PAGES, PAIRS, Counters
from app.monitoring.heartbeats import QueueHeartbeats

# Limit of hosts in the metrics, because client apps choose them: the hosts with the most bytes are shown.
MOST_HOSTS = 200
PAGE_STATUSES = ("detected", "empty", "failed")
IMAGE_STATUSES = ("embedded", "failed")
PAIR_STATUSES = ("compared", "known")
IMAGE_PAIR_STATUSES = ("verified", "known")


class ServiceCollector(Collector):
    """Collector of all metrics.

    Args:
        database: Database with jobs and deliveries.
        broker: Broker with the queues.
        counters: Counters of all processes.
        heartbeats: Heartbeats of the queues.
    """

    def __init__(self, database: Database, broker: Redis, counters: Counters, heartbeats: QueueHeartbeats) -> None:
        self._database = database
        self._broker = broker
        self._counters = counters
        self._heartbeats = heartbeats

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("extractor_build", "Version of the service.", value={"version": VERSION})
        yield from self._collect("database", self._read_database, DatabaseUnavailable)
        yield from self._collect("broker", self._read_broker, RedisError)

    def _collect(self, part: str, read: Callable[[], Iterator[Metric]], failure: type[Exception]) -> list[Metric]:
        """Return the metrics of the database or the broker, and whether it answered."""
        try:
            found, up = list(read()), 1
        except failure:
            found, up = [], 0
        return [GaugeMetricFamily(f"extractor_{part}_up", f"Whether the {part} answers.", up), *found]

    def _read_database(self) -> Iterator[Metric]:
        yield from self._read_jobs()
        yield from self._read_deliveries()
        silences = {
            queue: seconds for queue, seconds in self._heartbeats.find_silences().items() if seconds is not None
        }
        yield _gauge("queue_silence_seconds", "Seconds since the last heartbeat of a queue.", "queue", silences)

    def _read_jobs(self) -> Iterator[Metric]:
        states = select(Job.state, func.count()).group_by(Job.state)
        leased = Job.lease.is_not(None)
        stages = select(Job.state, leased, func.count()).where(Job.state.in_(UNFINISHED)).group_by(Job.state, leased)
        with self._database.session() as session:
            by_state: dict[str, float] = dict.fromkeys(State, 0) | {row[0]: row[1] for row in session.execute(states)}
            rows = session.execute(stages).all()
        by_queue = Counter({(queue, status): 0 for queue in QUEUES for status in ("waiting", "at_work")})
        for state, is_leased, count in rows:
            if stage := stage_of(State(state)):
                by_queue[stage.queue, "at_work" if is_leased else "waiting"] += count
        yield _gauge("jobs", "Jobs by state.", "state", by_state)
        family = GaugeMetricFamily(
            "extractor_queue_jobs", "Unfinished jobs by the queue of their stage.", labels=("queue", "status")
        )
        for labels, count in by_queue.items():
            family.add_metric(labels, count)
        yield family

    def _read_deliveries(self) -> Iterator[Metric]:
        totals = select(Delivery.status, func.count(), func.sum(Delivery.attempts)).group_by(Delivery.status)
        with self._database.session() as session:
            rows = session.execute(totals).all()
        none = dict.fromkeys(Status, 0)
        counts = none | {status: count for status, count, _ in rows}
        attempts = none | {status: total for status, _, total in rows}
        yield _gauge("deliveries", "Deliveries to client apps, by status.", "status", counts)
        yield _gauge("delivery_attempts", "Attempts of these deliveries, by status.", "status", attempts)

    def _read_broker(self) -> Iterator[Metric]:
        counters, broker = self._counters, self._broker
        lengths = {queue: broker.llen(queue) for queue in QUEUES}
        yield _gauge("queue_messages", "Messages on the broker.", "queue", lengths)
        pages = dict.fromkeys(PAGE_STATUSES, 0) | counters.read(PAGES)
        yield _counter("pages", "Processed pages, by status.", "status", pages)
        images = dict.fromkeys(IMAGE_STATUSES, 0) | counters.read(IMAGES)
        yield _counter("images", "Processed images of similarity jobs, by status.", "status", images)
        pairs = dict.fromkeys(PAIR_STATUSES, 0) | counters.read(PAIRS)
        yield _counter("pairs", "Pairs of documents, compared or with cached scores.", "status", pairs)
        image_pairs = dict.fromkeys(IMAGE_PAIR_STATUSES, 0) | counters.read(IMAGE_PAIRS)
        yield _counter("image_pairs", "Pairs of images, verified or known from the cache.", "status", image_pairs)
        hosts = counters.read(BYTES)
        largest = dict(Counter(hosts).most_common(MOST_HOSTS))
        answers = {host: count for host, count in counters.read(ANSWERS).items() if host in largest}
        yield _counter("fetched_bytes", "Bytes received from libraries, by host.", "host", largest)
        yield _counter("fetch_answers", "HTTP answers of libraries, by host.", "host", answers)
        yield from _build_gpu_memory(counters.read(GPU_MEMORY))


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"extractor_{name}", text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"extractor_{name}", text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def _build_gpu_memory(values: Mapping[str, int]) -> Iterable[Metric]:
    """Return the gauge of the gpu worker's memory; nothing without a GPU."""
    text = "GPU memory: total, used by all processes, reserved and allocated by the worker."
    family = GaugeMetricFamily("extractor_gpu_memory_bytes", text, labels=("device", "kind"))
    for label, number in values.items():
        family.add_metric(label.split(" ", 1), number)
    return [family] if values else []
