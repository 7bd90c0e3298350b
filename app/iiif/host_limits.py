"""Taking turns at libraries' servers: so many requests at once, so far apart.

The IIIF community asks harvesters for little load and a name (https://iiif.io/api/image/3.0/implementation/); a host
that answers 429 or 503 with ``Retry-After`` is left alone for so long.
"""

import logging
import math
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

import redis

from app.iiif.hosts import HostRule, HostRules

log = logging.getLogger(__name__)


class Ledger(Protocol):
    """Knows when a host may be asked next."""

    def take(self, host: str, token: str, rule: HostRule, large: bool) -> float:
        """Take a turn and return 0, or return the seconds after which to try again."""

    def give_back(self, host: str, token: str) -> None:
        """End a turn."""

    def pause(self, host: str, seconds: float) -> None:
        """Let nobody take a turn for some seconds."""


class LocalLedger:
    """Counts the turns of this process.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[tuple[str, bool], float] = defaultdict(float)

    def take(self, host: str, token: str, rule: HostRule, large: bool) -> float:
        with self._lock:
            now = self._clock()
            start = max(self._next[host, False], self._next[host, large])
            if start > now:
                return start - now
            self._next[host, False] = now + rule.interval_seconds
            if large:
                self._next[host, True] = now + rule.large_interval_seconds
            return 0.0

    def give_back(self, host: str, token: str) -> None:
        """Nothing: the threads of one process are counted by :class:`HostLimits`."""

    def pause(self, host: str, seconds: float) -> None:
        with self._lock:
            self._next[host, False] = max(self._next[host, False], self._clock() + seconds)


# Of a host: the turns that are held (a sorted set of tokens by the end of their lease), when it may be asked next,
# when for a large image. Each script runs alone, by the broker's own clock. The client sends one again when its answer
# was lost on the way: the token is there already then, and must not be in its own way.
_TAKE = """
redis.call('ZREM', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local start = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), ARGV[5] == '1'
    and tonumber(redis.call('GET', KEYS[3]) or 0) or 0)
if start > now then return tostring(start - now) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 'full' end
redis.call('ZADD', KEYS[1], now + ARGV[6], ARGV[1])
redis.call('EXPIRE', KEYS[1], 3600)
redis.call('SET', KEYS[2], string.format('%.6f', now + ARGV[3]), 'PX', math.ceil(ARGV[3] * 1000) + 1)
if ARGV[5] == '1' then
    redis.call('SET', KEYS[3], string.format('%.6f', now + ARGV[4]), 'PX', math.ceil(ARGV[4] * 1000) + 1)
end
return '0'
"""
_RENEW = """
local time = redis.call('TIME')
return redis.call('ZADD', KEYS[1], 'XX', time[1] + time[2] / 1000000 + ARGV[2], ARGV[1])
"""
_PAUSE = """
local time = redis.call('TIME')
local till = time[1] + time[2] / 1000000 + ARGV[1]
if till > tonumber(redis.call('GET', KEYS[1]) or 0) then
    redis.call('SET', KEYS[1], string.format('%.6f', till), 'PX', math.ceil(ARGV[1] * 1000) + 1)
end
"""


class SharedLedger:
    """Counts the turns of all workers, on the broker. While it is away, each process counts its own.

    A turn is a lease that a thread renews while it is held: those of a worker that was killed come back by themselves.

    Args:
        client: Of the broker.
        lease_seconds: After which the turns of a dead worker are free.
    """

    def __init__(self, client: redis.Redis, lease_seconds: float = 12.0) -> None:
        self._client = client
        self._lease_seconds = lease_seconds
        self._local = LocalLedger()
        self._held: dict[str, str] = {}
        self._take, self._renew, self._pause = map(client.register_script, (_TAKE, _RENEW, _PAUSE))
        self._renewing = threading.Thread(target=self._renew_always, name="turns", daemon=True)
        self._lock = threading.Lock()

    def take(self, host: str, token: str, rule: HostRule, large: bool) -> float:
        self._start_renewing()
        slots = _name(host, "turns")
        intervals = (rule.interval_seconds, rule.large_interval_seconds)
        try:
            answer = self._take(
                keys=[slots, _name(host, "next"), _name(host, "large")],
                args=[token, rule.connections, *intervals, int(large), self._lease_seconds],
            )
        except redis.RedisError:
            log.warning("the broker is away: this process alone counts its requests to %s", host)
            return self._local.take(host, token, rule, large)
        if answer == b"full":
            return random.uniform(0.05, 0.15)
        wait = float(answer)
        if wait == 0:
            self._held[token] = slots
        return wait

    def give_back(self, host: str, token: str) -> None:
        slots = self._held.pop(token, None)
        if slots:
            with suppress(redis.RedisError):  # the lease ends by itself
                self._client.zrem(slots, token)

    def pause(self, host: str, seconds: float) -> None:
        self._local.pause(host, seconds)
        with suppress(redis.RedisError):
            self._pause(keys=[_name(host, "next")], args=[seconds])

    def _start_renewing(self) -> None:
        with self._lock:
            if self._renewing.ident is None:
                self._renewing.start()

    def _renew_always(self) -> None:
        while True:
            time.sleep(self._lease_seconds / 3)
            for token, slots in list(self._held.items()):
                with suppress(redis.RedisError):
                    self._renew(keys=[slots], args=[token, self._lease_seconds])


def _name(host: str, what: str) -> str:
    return f"extractor:host:{host}:{what}"


class HostLimits:
    """Takes turns at each host. One instance serves every thread of a worker.

    Args:
        rules: How each host is treated.
        ledger: Where the turns are counted: for this process when none is given.
        sleep: Waits for some seconds.
    """

    def __init__(
        self, rules: HostRules, ledger: Ledger | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.rules = rules
        self._ledger = ledger or LocalLedger()
        self._sleep = sleep
        self._lock = threading.Lock()
        self._semaphores: dict[str, threading.Semaphore] = {}

    @contextmanager
    def turn(self, host: str, longest: int | None = 0) -> Iterator[None]:
        """Wait for a turn at a host and hold it while a request runs.

        Args:
            host: Its name, with the port when the address has one.
            longest: Longer side of the image to be asked for, in pixels; None for the full size, 0 for no image.
        """
        rule, token = self.rules.find(host), uuid.uuid4().hex
        slots = self._semaphore(host, rule.connections)
        if rule.is_large(longest):
            # One at a time: the others wait without a slot, and small requests go on between.
            with self._semaphore(f"{host} large", 1):
                self._take(slots, rule.interval_seconds, lambda: self._ledger.take(host, token, rule, True))
        else:
            self._take(slots, math.inf, lambda: self._ledger.take(host, token, rule, False))
        try:
            yield
        finally:
            self._ledger.give_back(host, token)
            slots.release()

    def pause(self, host: str, seconds: float) -> None:
        """Send a host nothing for some seconds."""
        self._ledger.pause(host, seconds)

    def _take(self, slots: threading.Semaphore, patience: float, ask: Callable[[], float]) -> None:
        """Return with a slot and a turn. A wait that is longer than the patience is slept through without a slot."""
        while True:
            with ExitStack() as held:
                held.enter_context(slots)
                while 0 < (wait := ask()) <= patience:
                    self._sleep(wait)
                if wait == 0:
                    held.pop_all()
                    return
            self._sleep(wait)

    def _semaphore(self, queue: str, places: int) -> threading.Semaphore:
        # Threads of one process queue up here, so that only few of them ask the ledger again and again.
        with self._lock:
            return self._semaphores.setdefault(queue, threading.Semaphore(places))
