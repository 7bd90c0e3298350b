"""A client with little patience."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from app.addresses import AddressGuard
from app.iiif.fetch import Fetcher, FetchPolicy
from app.iiif.hosts import HostRule, HostRules
from app.iiif.ledger import LocalLedger
from app.iiif.turns import HostLimits

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
    """A clock that moves only when somebody sleeps by it."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def tell(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def build_limits(rule: HostRule, clock: Clock | None = None, **known: HostRule) -> HostLimits:
    """Return limits of one process, by a test's own clock when there is one."""
    rules = HostRules(rule, {name.replace("_", "."): known for name, known in known.items()})
    return HostLimits(rules, LocalLedger(clock.tell), clock.sleep) if clock else HostLimits(rules)


@pytest.fixture
def make_fetcher(clock: Clock) -> Callable[..., Fetcher]:
    """Build a fetcher that may ask loopback, with other bounds than POLICY's where given."""

    def build(trusted: frozenset[str] = frozenset({"127.0.0.1"}), **bounds: object) -> Fetcher:
        policy = replace(POLICY, **bounds)  # type: ignore[arg-type]
        return Fetcher(policy, build_limits(HostRule(4, 0), clock), AddressGuard(trusted))

    return build


@pytest.fixture
def fetcher(make_fetcher: Callable[..., Fetcher]) -> Fetcher:
    return make_fetcher()
