"""Turns that several workers share, on a real broker; each ledger here stands for a worker."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from app.iiif.host_limits import HostLimits
from app.iiif.hosts import HostRule, HostRules
from app.iiif.request_counts import SharedLedger
from tests.support.fetching import check_small_go_between

HOST = "library.example"


@pytest.fixture
def make_ledger(broker_url: str) -> Iterator[Callable[..., SharedLedger]]:
    client = redis.Redis.from_url(broker_url)
    yield lambda **options: SharedLedger(client, **options)
    client.flushdb()
    client.close()


def test_two_workers_together_keep_the_number_of_requests(make_ledger: Callable[..., SharedLedger]) -> None:
    rule = HostRule(connections=3, interval_seconds=0)
    first, second = make_ledger(), make_ledger()
    taken = [ledger.take(HOST, f"{number}", rule, False) for number, ledger in enumerate([first, second, first])]
    assert taken == [0, 0, 0]
    assert second.take(HOST, "3", rule, False) > 0
    first.give_back(HOST, "0")
    assert second.take(HOST, "3", rule, False) == 0
    assert second.take("other.example", "4", rule, False) == 0


def test_two_workers_together_keep_the_interval(make_ledger: Callable[..., SharedLedger]) -> None:
    rule = HostRule(connections=9, interval_seconds=50, image_size=1000, large_interval_seconds=500)
    first, second = make_ledger(), make_ledger()
    assert first.take(HOST, "a", rule, True) == 0
    assert 40 < second.take(HOST, "b", rule, False) <= 50
    assert 490 < second.take(HOST, "c", rule, True) <= 500


def test_a_pause_holds_for_every_worker_and_a_shorter_one_does_not_end_it(
    make_ledger: Callable[..., SharedLedger],
) -> None:
    rule = HostRule(connections=9, interval_seconds=0)
    first, second = make_ledger(), make_ledger()
    first.pause(HOST, 60)
    first.pause(HOST, 5)
    assert 50 < second.take(HOST, "a", rule, False) <= 60
    assert second.take("other.example", "b", rule, False) == 0


def test_the_turns_of_a_dead_worker_come_back_and_those_of_a_living_one_do_not(
    make_ledger: Callable[..., SharedLedger],
) -> None:
    rule = HostRule(connections=2, interval_seconds=0)
    living, dead, third = make_ledger(lease_seconds=0.3), make_ledger(lease_seconds=0.3), make_ledger()
    assert living.take(HOST, "kept", rule, False) == 0
    assert dead.take(HOST, "lost", rule, False) == 0
    dead._held.clear()  # nobody renews it any more
    end = time.monotonic() + 20
    while third.take(HOST, "third", rule, False) > 0:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert third.take(HOST, "fourth", rule, False) > 0


def test_while_the_broker_is_away_each_worker_counts_its_own() -> None:
    nowhere = redis.Redis(port=1, socket_connect_timeout=1, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    ledger = SharedLedger(nowhere)
    rule = HostRule(connections=4, interval_seconds=50)
    assert ledger.take(HOST, "a", rule, False) == 0
    assert 40 < ledger.take(HOST, "b", rule, False) <= 50
    ledger.pause(HOST, 100)
    assert 90 < ledger.take(HOST, "b", rule, False) <= 100
    ledger.give_back(HOST, "a")


def test_many_threads_of_two_workers_never_hold_more_than_allowed(make_ledger: Callable[..., SharedLedger]) -> None:
    rules = HostRules(HostRule(connections=2, interval_seconds=0))
    workers = [HostLimits(rules, make_ledger()) for _ in range(2)]
    inside: list[int] = []
    most: list[int] = []

    def ask(number: int) -> None:
        with workers[number % 2].turn(HOST):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)  # as a request takes: without a limit, others come in meanwhile
            inside.remove(number)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(ask, range(60)))
    assert len(most) == 60
    assert max(most) <= 2


def test_a_turn_whose_answer_was_lost_is_not_in_its_own_way(make_ledger: Callable[..., SharedLedger]) -> None:
    rule = HostRule(connections=1, interval_seconds=0)
    ledger = make_ledger()
    assert ledger.take(HOST, "a", rule, False) == 0
    assert ledger.take(HOST, "a", rule, False) == 0
    assert ledger.take(HOST, "b", rule, False) > 0


def test_small_requests_of_a_worker_go_on_while_large_ones_wait(make_ledger: Callable[..., SharedLedger]) -> None:
    rules = HostRules(HostRule(connections=1, interval_seconds=0, image_size=1000, large_interval_seconds=0.5))
    go_on, waiting = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waiting.set()
        go_on.wait(20)
        time.sleep(seconds)

    limits = HostLimits(rules, make_ledger(), sleep)
    check_small_go_between(limits, waiting, go_on)
