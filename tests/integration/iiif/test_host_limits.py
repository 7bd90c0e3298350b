"""Limits that several workers share, on a real broker; each limiter here stands for a worker."""

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
    yield lambda **options: SharedLimiter(client, **options)
    client.flushdb()
    client.close()


def test_two_workers_together_keep_the_number_of_requests(make_limiter: Callable[..., SharedLimiter]) -> None:
    rule = HostRule(connections=3, interval_seconds=0)
    first, second = make_limiter(), make_limiter()
    taken = [limiter.acquire(HOST, f"{number}", rule, False) for number, limiter in enumerate([first, second, first])]
    assert taken == [0, 0, 0]
    assert second.acquire(HOST, "3", rule, False) > 0
    first.release(HOST, "0")
    assert second.acquire(HOST, "3", rule, False) == 0
    assert second.acquire("other.example", "4", rule, False) == 0


def test_two_workers_together_keep_the_interval(make_limiter: Callable[..., SharedLimiter]) -> None:
    rule = HostRule(connections=9, interval_seconds=50, image_size=1000, large_interval_seconds=500)
    first, second = make_limiter(), make_limiter()
    assert first.acquire(HOST, "a", rule, True) == 0
    assert 40 < second.acquire(HOST, "b", rule, False) <= 50
    assert 490 < second.acquire(HOST, "c", rule, True) <= 500


def test_a_pause_holds_for_every_worker_and_a_shorter_one_does_not_end_it(
    make_limiter: Callable[..., SharedLimiter],
) -> None:
    rule = HostRule(connections=9, interval_seconds=0)
    first, second = make_limiter(), make_limiter()
    first.pause(HOST, 60)
    first.pause(HOST, 5)
    assert 50 < second.acquire(HOST, "a", rule, False) <= 60
    assert second.acquire("other.example", "b", rule, False) == 0


def test_the_slots_of_a_dead_worker_expire_and_those_of_a_living_one_do_not(
    make_limiter: Callable[..., SharedLimiter],
) -> None:
    rule = HostRule(connections=2, interval_seconds=0)
    living, dead, third = make_limiter(lease_seconds=0.3), make_limiter(lease_seconds=0.3), make_limiter()
    assert living.acquire(HOST, "kept", rule, False) == 0
    assert dead.acquire(HOST, "lost", rule, False) == 0
    dead._held.clear()  # nobody renews it any more
    end = time.monotonic() + 20
    while third.acquire(HOST, "third", rule, False) > 0:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert third.acquire(HOST, "fourth", rule, False) > 0


def test_while_the_broker_is_away_each_worker_counts_its_own() -> None:
    nowhere = redis.Redis(port=1, socket_connect_timeout=1, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    limiter = SharedLimiter(nowhere)
    rule = HostRule(connections=4, interval_seconds=50)
    assert limiter.acquire(HOST, "a", rule, False) == 0
    assert 40 < limiter.acquire(HOST, "b", rule, False) <= 50
    limiter.pause(HOST, 100)
    assert 90 < limiter.acquire(HOST, "b", rule, False) <= 100
    limiter.release(HOST, "a")


def test_many_threads_of_two_workers_never_hold_more_than_allowed(make_limiter: Callable[..., SharedLimiter]) -> None:
    rules = HostRules(HostRule(connections=2, interval_seconds=0))
    workers = [HostLimits(rules, make_limiter()) for _ in range(2)]
    inside: list[int] = []
    most: list[int] = []

    def ask(number: int) -> None:
        with workers[number % 2].slot(HOST):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)  # as a request takes: without a limit, others come in meanwhile
            inside.remove(number)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(ask, range(60)))
    assert len(most) == 60
    assert max(most) <= 2


def test_a_slot_whose_answer_was_lost_does_not_count_against_itself(make_limiter: Callable[..., SharedLimiter]) -> None:
    rule = HostRule(connections=1, interval_seconds=0)
    limiter = make_limiter()
    assert limiter.acquire(HOST, "a", rule, False) == 0
    assert limiter.acquire(HOST, "a", rule, False) == 0
    assert limiter.acquire(HOST, "b", rule, False) > 0


def test_small_requests_of_a_worker_go_on_while_large_ones_wait(make_limiter: Callable[..., SharedLimiter]) -> None:
    rules = HostRules(HostRule(connections=1, interval_seconds=0, image_size=1000, large_interval_seconds=0.5))
    resume, waiting = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waiting.set()
        resume.wait(20)
        time.sleep(seconds)

    limits = HostLimits(rules, make_limiter(), sleep)
    check_small_requests_go_first(limits, waiting, resume)
