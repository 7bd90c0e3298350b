import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from app import create_app
from app.config import Settings
from app.database.tables import Delivery, Job
from app.demo.service import find_free_port
from app.monitoring.prometheus import MOST_HOSTS, ServiceCollector
from app.services import Services

Read = Callable[..., float | None]


@pytest.fixture
def read(services: Services) -> Read:
    return reader(services)


def reader(services: Services) -> Read:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(services.database, services.broker, services.counters, services.heartbeats))
    return lambda name, **labels: registry.get_sample_value(f"extractor_{name}", labels)


def add_job(services: Services, job_id: str, state: str, lease: str | None = None) -> None:
    with services.database.session() as session:
        session.add(Job(id=job_id, app_id=1, kind="detection", request={}, state=state, lease=lease))


def test_jobs_are_counted_by_state_and_by_queue(services: Services, read: Read) -> None:
    add_job(services, "a", "queued")
    add_job(services, "b", "downloading", "message:0")
    add_job(services, "c", "running")
    add_job(services, "d", "done")
    assert [read("jobs", state=state) for state in ("queued", "running", "done", "failed")] == [1, 1, 1, 0]
    counts = {
        (name, status): read("queue_jobs", queue=name, status=status)
        for name in ("io", "gpu", "post")
        for status in ("waiting", "at_work")
    }
    assert {key for key, count in counts.items() if count} == {("io", "waiting"), ("io", "at_work"), ("gpu", "waiting")}


def test_deliveries_are_counted_by_status(services: Services, read: Read) -> None:
    add_job(services, "a", "done")
    with services.database.session() as session:
        for number, status in enumerate(("pending", "pending", "delivered")):
            session.add(
                Delivery(id=str(number), job_id="a", url=f"http://{number}", status=status, attempts=number + 1)
            )
    assert [read("deliveries", status=status) for status in ("pending", "delivered", "failed")] == [2, 1, 0]
    assert read("delivery_attempts", status="pending") == 3


def test_messages_on_the_broker_are_counted(services: Services, read: Read) -> None:
    services.broker.lpush("post", "x")
    assert (read("queue_messages", queue="post"), read("queue_messages", queue="io")) == (1, 0)


def test_pages_bytes_and_answers_are_read_from_the_counters(services: Services, read: Read) -> None:
    for status, number in (("detected", 2), ("empty", 1)):
        services.count_pages(status, number)
    services.counters.add("bytes", "library.example", 5_000_000)
    services.counters.add("answers", "library.example", 2)
    assert [read("pages_total", status=status) for status in ("detected", "empty", "failed")] == [2, 1, 0]
    assert read("fetched_bytes_total", host="library.example") == 5_000_000
    assert read("fetch_answers_total", host="library.example") == 2


def test_images_and_pairs_are_counted_by_status(services: Services, read: Read) -> None:
    for kind, status, number in [("images", "embedded", 5), ("images", "failed", 2), ("pairs", "known", 7)]:
        services.counters.add(kind, status, number)
    assert [read("images_total", status=status) for status in ("embedded", "failed")] == [5, 2]
    assert [read("pairs_total", status=status) for status in ("compared", "known")] == [0, 7]


def test_only_the_hosts_with_the_most_bytes_are_shown(services: Services, read: Read) -> None:
    for number in range(MOST_HOSTS + 1):
        services.counters.add("bytes", f"{number}.example", number + 1)
    assert read("fetched_bytes_total", host="0.example") is None
    assert read("fetched_bytes_total", host="1.example") == 2


def test_the_memory_of_a_gpu_is_shown_only_with_a_gpu(services: Services, read: Read) -> None:
    assert read("gpu_memory_bytes", device="0", kind="used") is None
    services.counters.set_gauge("gpu_memory", {"0 used": 17}, 60)
    assert read("gpu_memory_bytes", device="0", kind="used") == 17


def test_the_silence_of_a_queue_is_shown(services: Services, read: Read) -> None:
    services.heartbeats.record("gpu")
    assert read("queue_silence_seconds", queue="gpu") == pytest.approx(0, abs=30)
    assert read("queue_silence_seconds", queue="io") is None


def test_without_the_broker_the_metrics_of_the_database_are_shown(settings: Settings) -> None:
    away = settings.model_copy(update={"celery_broker_url": f"redis://127.0.0.1:{find_free_port()}"})
    app = create_app(away)
    add_job(app.extensions["services"], "a", "queued")
    read = reader(app.extensions["services"])
    assert (read("broker_up"), read("database_up"), read("jobs", state="queued")) == (0, 1, 1)
    assert read("queue_messages", queue="io") is None
    app.extensions["services"].database.close()


def test_without_the_database_the_metrics_of_the_broker_are_shown(
    services: Services, read: Read, settings: Settings
) -> None:
    services.database.close()
    settings.data_folder.rename(settings.data_folder.with_name(f"gone-{time.time()}"))
    assert (read("database_up"), read("broker_up"), read("queue_messages", queue="io")) == (0, 1, 0)


def test_the_version_is_shown(read: Read) -> None:
    assert read("build_info", version="1.0.0") == 1
