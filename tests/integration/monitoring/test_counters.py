import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.config import ROOT
from app.demo.service import build_environment, choose_settings
from app.monitoring import counters as module
from app.monitoring.counters import PREFIX, Meter
from tests.conftest import wait_for_broker


@pytest.fixture
def broker(broker_url: str) -> Iterator[Redis]:
    with Redis.from_url(broker_url) as broker:
        yield broker
        broker.flushdb()


def test_what_several_processes_count_is_added_up(broker: Redis) -> None:
    first, second = Meter(broker), Meter(broker)
    first.add("pages", "detected", 2)
    second.add("pages", "detected")
    second.add("pages", "empty")
    first.flush()
    second.flush()
    assert Meter(broker).read("pages") == {"detected": 3, "empty": 1}


def test_counts_are_written_without_being_asked_for(broker: Redis) -> None:
    counted = Meter(broker)
    counted.add("pages", "empty")
    timer = counted._timer
    assert timer is not None
    timer.join(30)
    assert Meter(broker).read("pages") == {"empty": 1}


def test_what_is_counted_while_the_broker_is_away_is_written_when_it_is_back(tmp_path: Path) -> None:
    settings = choose_settings(tmp_path)
    with Redis.from_url(settings.broker_url) as broker:
        counted = Meter(broker)
        counted.add("pages", "detected", 7)
        counted.flush()
        with pytest.raises(redis.ConnectionError):
            counted.read("pages")
        command = [sys.executable, "-m", "app.workers.broker", "serve"]
        with subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            wait_for_broker(settings.broker_url)
            counted.flush()
            found = counted.read("pages")
            process.terminate()
    assert found == {"detected": 7}


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[tuple[psutil.Process, Redis]]:
    """A broker of its own, to be stopped, and a connection to it with little patience."""
    settings = choose_settings(tmp_path)
    command = [sys.executable, "-m", "app.workers.broker", "serve"]
    with subprocess.Popen(command, env=build_environment(settings), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for_broker(settings.broker_url)
        with Redis.from_url(settings.broker_url, socket_timeout=0.3, retry=Retry(NoBackoff(), 0)) as broker:
            yield psutil.Process(process.pid), broker
        process.terminate()


def test_what_a_broker_that_hangs_has_got_already_is_counted_once(hanging: tuple[psutil.Process, Redis]) -> None:
    process, broker = hanging
    counted = Meter(broker)
    counted.add("pages", "empty")
    counted.flush()
    for amount in (10, 100):
        process.suspend()
        counted.add("pages", "empty", amount)
        counted.flush()  # the broker has it in its buffer, and does not answer
        counted.add("pages", "detected", amount)
        counted.flush()
        process.resume()
        wait_for_broker(f"redis://127.0.0.1:{broker.connection_pool.connection_kwargs['port']}/0")
        counted.flush()
    assert counted.read("pages") == {"empty": 111, "detected": 110}


def test_counts_that_come_while_a_write_is_unsure_follow_it(hanging: tuple[psutil.Process, Redis]) -> None:
    process, broker = hanging
    counted = Meter(broker)
    process.suspend()
    for _ in range(3):
        counted.add("pages", "empty")
        counted.flush()
    process.resume()
    timer = counted._timer
    assert timer is not None
    timer.join(30)
    counted.flush()
    assert counted.read("pages") == {"empty": 3}


def test_a_rate_is_of_the_last_full_minute(broker: Redis) -> None:
    window = int(module.time.time()) // module.WINDOW_SECONDS
    for before, pages in ((1, 30), (5, 30), (module.WINDOWS + 3, 1000)):
        broker.hset(f"{PREFIX}pages:{window - before}", "detected", pages)
    assert Meter(broker).read_rates("pages")["detected"] == pytest.approx(1, abs=0.6)


def test_windows_of_the_past_are_forgotten(broker: Redis) -> None:
    counted = Meter(broker)
    counted.add("pages", "detected")
    counted.flush()
    (window,) = broker.keys(f"{PREFIX}pages:*")
    assert 0 < broker.ttl(window) <= 100


def test_a_counter_with_too_many_labels_is_begun_anew(broker: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LABELS", 3)
    counted = Meter(broker)
    for host in "abcd":
        counted.add("bytes", host, 10)
    counted.flush()
    assert counted.read("bytes") == {}


def test_a_reading_replaces_the_one_before_and_does_not_last(broker: Redis) -> None:
    counted = Meter(broker)
    counted.show("gpu_memory", {"0 used": 1, "1 used": 2}, 60)
    counted.show("gpu_memory", {"0 used": 3}, 60)
    assert counted.read("gpu_memory") == {"0 used": 3}
    assert 0 < broker.ttl(f"{PREFIX}gpu_memory") <= 60


def test_a_reading_is_not_shown_while_the_broker_is_away_and_nothing_fails(tmp_path: Path) -> None:
    with Redis.from_url(choose_settings(tmp_path).broker_url) as broker:
        Meter(broker).show("gpu_memory", {"0 used": 1}, 60)
