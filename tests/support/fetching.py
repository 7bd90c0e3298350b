"""Fetchers with short time limits, and a fake clock."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from app.iiif.fetch import Fetcher, FetchPolicy
from app.iiif.host_limits import HostLimits, LocalLimiter
from app.iiif.hosts import HostRule, HostRules
from app.net.addresses import AddressGuard

POLICY = FetchPolicy(
    user_agent="extractorAPI/test (contact: nobody@example.org)",
    attempts=3,
    timeout=5,
    deadline=10,
    backoff=0.001,
    retry_after_limit=100,
    max_redirects=3,
    max_document_bytes=200_000,
    max_image_bytes=500_000,
    max_image_pixels=50_000_000,
)


@dataclass
class Clock:
    """A fake clock that only :meth:`sleep` moves."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def build_limits(rule: HostRule, clock: Clock | None = None, **known: HostRule) -> HostLimits:
    """Return rate limits for one process, with a fake clock if one is given."""
    rules = HostRules(rule, {name.replace("_", "."): known for name, known in known.items()})
    return HostLimits(rules, LocalLimiter(clock.time), clock.sleep) if clock else HostLimits(rules)


@pytest.fixture
def make_fetcher(clock: Clock) -> Callable[..., Fetcher]:
    """Return a function that builds a fetcher for loopback; keyword arguments override POLICY."""

    def build(trusted: frozenset[str] = frozenset({"127.0.0.1"}), **bounds: object) -> Fetcher:
        policy = replace(POLICY, **bounds)  # type: ignore[arg-type]
        return Fetcher(policy, build_limits(HostRule(4, 0), clock), AddressGuard(trusted))

    return build


@pytest.fixture
def fetcher(make_fetcher: Callable[..., Fetcher]) -> Fetcher:
    return make_fetcher()


def check_small_requests_go_first(limits: HostLimits, waiting: threading.Event, resume: threading.Event) -> None:
    """Check that small requests get slots while large ones wait, and that the large ones get theirs afterwards.

    Args:
        limits: Limits with one connection and a long interval between large images.
        waiting: Event that is set when a thread starts to sleep.
        resume: Event that lets sleeping threads continue.
    """

    def ask(longest: int | None) -> None:
        with limits.slot("library.example", longest):
            pass

    ask(None)
    with ThreadPoolExecutor(4) as executor:
        large = [executor.submit(ask, None) for _ in range(3)]
        try:
            assert waiting.wait(20)
            for _ in range(5):
                executor.submit(ask, 1000).result(10)
            assert not any(future.done() for future in large)
        finally:
            resume.set()
        for future in large:
            future.result(20)
