"""Rate limits that several workers share, on a real broker. Each limiter stands for a worker."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from app.iiif.host_limits import HostLimits, SharedLimiter
from app.iiif.hosts import HostRule, HostRules
from tests.support.fetching import check_small_requests_go_first

HOST = "library.example"


@pytest.fixture
def make_limiter(broker_url: str) -> Iterator[Callable[..., SharedLimiter]]:
    client = redis.Redis.from_url(broker_url)
    limiters: list[SharedLimiter] = []

    def make(**options: float) -> SharedLimiter:
        limiters.append(SharedLimiter(client, **options))
        return limiters[-1]

    yield make
    client.flushdb()
    for limiter in limiters:
        limiter._held.clear()  # otherwise their threads renew the slots for ever
    client.connection_pool.disconnect(inuse_connections=False)  # a thread may be renewing a slot


def test_two_workers_share_the_limit_of_simultaneous_requests(make_limiter: Callable[..., SharedLimiter]) -> None:
    rule = HostRule(connections=3, interval_seconds=0)
    first, second = make_limiter(), make_limiter()
    taken = [limiter.acquire(HOST, f"{number}", rule, False) for number, limiter in enumerate([first, second, first])]
    assert taken == [0, 0, 0]
    assert second.acquire(HOST, "3", rule, False) > 0
    first.release(HOST, "0")
    assert second.acquire(HOST, "3", rule, False) == 0
    assert second.acquire("other.example", "4", rule, False) == 0


def test_two_workers_share_the_interval(make_limiter: Callable[..., SharedLimiter]) -> None:
    rule = HostRule(connections=9, interval_seconds=50, image_size=1000, large_interval_seconds=500)
    first, second = make_limiter(), make_limiter()
    assert first.acquire(HOST, "a", rule, True) == 0
    assert 40 < second.acquire(HOST, "b", rule, False) <= 50
    assert 490 < second.acquire(HOST, "c", rule, True) <= 500


def test_a_pause_holds_for_all_workers_and_is_not_shortened(
    make_limiter: Callable[..., SharedLimiter],
) -> None:
    rule = HostRule(connections=9, interval_seconds=0)
    first, second = make_limiter(), make_limiter()
    first.pause(HOST, 60)
    first.pause(HOST, 5)
    assert 50 < second.acquire(HOST, "a", rule, False) <= 60
    assert second.acquire("other.example", "b", rule, False) == 0


def test_only_the_slots_of_a_dead_worker_expire(
    make_limiter: Callable[..., SharedLimiter],
) -> None:
    rule = HostRule(connections=2, interval_seconds=0)
    living, dead, third = make_limiter(lease_seconds=0.3), make_limiter(lease_seconds=0.3), make_limiter()
    assert living.acquire(HOST, "kept", rule, False) == 0
    assert dead.acquire(HOST, "lost", rule, False) == 0
    dead._held.clear()  # its lease is no longer renewed
    end = time.monotonic() + 20
    while third.acquire(HOST, "third", rule, False) > 0:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert third.acquire(HOST, "fourth", rule, False) > 0


def test_each_worker_limits_itself_while_the_broker_is_down() -> None:
    nowhere = redis.Redis(port=1, socket_connect_timeout=1, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    limiter = SharedLimiter(nowhere)
    rule = HostRule(connections=4, interval_seconds=50)
    assert limiter.acquire(HOST, "a", rule, False) == 0
    assert 40 < limiter.acquire(HOST, "b", rule, False) <= 50
    limiter.pause(HOST, 100)
    assert 90 < limiter.acquire(HOST, "b", rule, False) <= 100
    limiter.release(HOST, "a")


def test_threads_of_two_workers_never_exceed_the_limit(make_limiter: Callable[..., SharedLimiter]) -> None:
    rules = HostRules(HostRule(connections=2, interval_seconds=0))
    workers = [HostLimits(rules, make_limiter()) for _ in range(2)]
    inside: list[int] = []
    most: list[int] = []

    def ask(number: int) -> None:
        with workers[number % 2].slot(HOST):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)  # simulates a request; without a limit, other threads would enter now
            inside.remove(number)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(ask, range(60)))
    assert len(most) == 60
    assert max(most) <= 2


def test_a_repeated_acquire_does_not_count_twice(make_limiter: Callable[..., SharedLimiter]) -> None:
    rule = HostRule(connections=1, interval_seconds=0)
    limiter = make_limiter()
    assert limiter.acquire(HOST, "a", rule, False) == 0
    assert limiter.acquire(HOST, "a", rule, False) == 0
    assert limiter.acquire(HOST, "b", rule, False) > 0


def test_small_requests_continue_while_large_ones_wait(make_limiter: Callable[..., SharedLimiter]) -> None:
    rules = HostRules(HostRule(connections=1, interval_seconds=0, image_size=1000, large_interval_seconds=0.5))
    resume, waiting = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waiting.set()
        resume.wait(20)
        time.sleep(seconds)

    limits = HostLimits(rules, make_limiter(), sleep)
    check_small_requests_go_first(limits, waiting, resume)
