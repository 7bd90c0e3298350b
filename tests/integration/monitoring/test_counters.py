from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.demo.service import choose_settings
from app.monitoring import counters as module
from app.monitoring.counters import PREFIX, Counters
from tests.support.broker import run_broker, wait_for_broker


@pytest.fixture
def broker(broker_url: str) -> Iterator[Redis]:
    with Redis.from_url(broker_url) as broker:
        broker.flushdb()
        yield broker


def test_the_counts_of_several_processes_are_added(broker: Redis) -> None:
    first, second = Counters(broker), Counters(broker)
    first.add("pages", "detected", 2)
    second.add("pages", "detected")
    second.add("pages", "empty")
    assert Counters(broker).read("pages") == {"detected": 3, "empty": 1}


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[tuple[psutil.Process, Redis]]:
    """A broker that a test may suspend, and a connection to it with a short time-out."""
    settings = choose_settings(tmp_path)
    with (
        run_broker(settings) as process,
        Redis.from_url(settings.broker_url, socket_timeout=0.5, retry=Retry(NoBackoff(), 0)) as broker,
    ):
        yield process, broker


def test_a_broker_that_hangs_delays_counting_only_once(own_broker: tuple[psutil.Process, Redis]) -> None:
    process, broker = own_broker
    counted = Counters(broker)
    process.suspend()
    for _ in range(10_000):  # with a time-out each, this would take more than an hour
        counted.add("pages", "empty")
    process.resume()


def test_counting_continues_when_the_broker_is_back(
    own_broker: tuple[psutil.Process, Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    process, broker = own_broker
    counted = Counters(broker)
    process.suspend()
    counted.add("pages", "detected", 7)  # counted or lost, but does not fail
    process.resume()
    wait_for_broker(f"redis://127.0.0.1:{broker.connection_pool.connection_kwargs['port']}/0")
    counted.add("pages", "empty", 3)
    assert counted.read("pages")["empty"] == 3


def test_without_a_broker_nothing_is_counted_and_nothing_fails(tmp_path: Path) -> None:
    with Redis.from_url(choose_settings(tmp_path).broker_url) as broker:
        counted = Counters(broker)
        counted.add("pages", "detected")
        with pytest.raises(redis.ConnectionError):
            counted.read("pages")


def test_a_counter_with_too_many_labels_restarts(broker: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LABELS", 3)
    counted = Counters(broker)
    for host in "abcda":
        counted.add("bytes", host, 10)
    assert counted.read("bytes") == {"a": 10}


def test_a_gauge_is_replaced_and_expires(broker: Redis) -> None:
    counted = Counters(broker)
    counted.set_gauge("gpu_memory", {"0 used": 1, "1 used": 2}, 60)
    counted.set_gauge("gpu_memory", {"0 used": 3}, 60)
    assert counted.read("gpu_memory") == {"0 used": 3}
    assert 0 < broker.ttl(f"{PREFIX}gpu_memory") <= 60


def test_setting_a_gauge_without_a_broker_does_not_fail(tmp_path: Path) -> None:
    with Redis.from_url(choose_settings(tmp_path).broker_url) as broker:
        Counters(broker).set_gauge("gpu_memory", {"0 used": 1}, 60)
