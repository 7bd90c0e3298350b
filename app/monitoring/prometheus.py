"""What Prometheus is told, read from the database and the broker at each scrape: no process counts for itself.

Names by https://prometheus.io/docs/practices/naming/. What cannot be read is left out, and ``extractor_database_up`` or
``extractor_broker_up`` is 0.
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
from app.monitoring.counters import ANSWERS, BYTES, GPU_MEMORY, IMAGES, PAGES, PAIRS, Counters
from app.monitoring.heartbeats import QueueHeartbeats

# Hosts are named by client apps: those that sent most are shown.
MOST_HOSTS = 200
PAGE_STATUSES = ("detected", "empty", "failed")
IMAGE_STATUSES = ("embedded", "failed")
PAIR_STATUSES = ("compared", "known")


class ServiceCollector(Collector):
    """Reads everything anew at each scrape.

    Args:
        database: Jobs and deliveries.
        broker: Lengths of the queues.
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
        """Return what a part of the service knows, and whether it answered."""
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
        yield _gauge("queue_silence_seconds", "Since something last came through a queue.", "queue", silences)

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
        attempts = none | {status: tries for status, _, tries in rows}
        yield _gauge("deliveries", "Results on their way to client apps, by status.", "status", counts)
        yield _gauge("delivery_attempts", "Tries that these deliveries took so far, by status.", "status", attempts)

    def _read_broker(self) -> Iterator[Metric]:
        counters, broker = self._counters, self._broker
        lengths = {queue: broker.llen(queue) for queue in QUEUES}
        yield _gauge("queue_messages", "Messages that wait on the broker.", "queue", lengths)
        pages = dict.fromkeys(PAGE_STATUSES, 0) | counters.read(PAGES)
        yield _counter("pages", "Pages looked at, and pages that could not be.", "status", pages)
        images = dict.fromkeys(IMAGE_STATUSES, 0) | counters.read(IMAGES)
        yield _counter("images", "Images embedded, and images that could not be had.", "status", images)
        pairs = dict.fromkeys(PAIR_STATUSES, 0) | counters.read(PAIRS)
        yield _counter("pairs", "Pairs of documents compared, and pairs that were known.", "status", pairs)
        hosts = counters.read(BYTES)
        largest = dict(Counter(hosts).most_common(MOST_HOSTS))
        answers = {host: count for host, count in counters.read(ANSWERS).items() if host in largest}
        yield _counter("fetched_bytes", "Bytes that came from libraries.", "host", largest)
        yield _counter("fetch_answers", "Answers that came from libraries, of any kind.", "host", answers)
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
    """Return the reading of the detector's worker; nothing where there is no GPU."""
    text = "Memory of the GPU: total and used by anyone; reserved and, of that, allocated by the detector."
    family = GaugeMetricFamily("extractor_gpu_memory_bytes", text, labels=("device", "kind"))
    for label, number in values.items():
        family.add_metric(label.split(" ", 1), number)
    return [family] if values else []
