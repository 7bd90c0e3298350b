"""Rate limits for the servers of libraries: the number of simultaneous requests and the interval between them.

The IIIF community asks harvesters to limit their load and to identify themselves
(https://iiif.io/api/image/3.0/implementation/).

    limits = HostLimits(rules, SharedLimiter(broker))
    with limits.slot("gallica.bnf.fr"):
        ...  # one request

A request needs a slot. :class:`HostLimits` queues the threads of a process; a :class:`Limiter` grants the slots:

    LocalLimiter   to this process alone
    SharedLimiter  to all workers together, on the broker

After a response that signals overload (429, 503, 509), :meth:`HostLimits.pause` grants no slot of the host for the time
in ``Retry-After``, or for a back-off.
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

from app.errors import FetchError
from app.iiif.hosts import HostRule, HostRules

log = logging.getLogger(__name__)


class Limiter(Protocol):
    """Grants slots for requests to a host."""

    def acquire(self, host: str, token: str, rule: HostRule, large: bool) -> float:
        """Acquire a slot and return 0, or return the seconds after which to try again."""

    def release(self, host: str, token: str) -> None:
        """Release a slot."""

    def pause(self, host: str, seconds: float) -> None:
        """Grant no slot for some seconds."""


class LocalLimiter:
    """Limits the requests of this process.

    Args:
        clock: Function that returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[tuple[str, bool], float] = defaultdict(float)

    def acquire(self, host: str, token: str, rule: HostRule, large: bool) -> float:
        with self._lock:
            now = self._clock()
            start = max(self._next[host, False], self._next[host, large])
            if start > now:
                return start - now
            self._next[host, False] = now + rule.interval_seconds
            if large:
                self._next[host, True] = now + rule.large_interval_seconds
            return 0.0

    def release(self, host: str, token: str) -> None:
        """Do nothing: :class:`HostLimits` limits the simultaneous requests of this process."""

    def pause(self, host: str, seconds: float) -> None:
        with self._lock:
            self._next[host, False] = max(self._next[host, False], self._clock() + seconds)


# Keys of a host: "slots" (a sorted set of tokens, scored by the end of their lease), "next" (earliest start of the next
# request) and "large" (earliest start of the next large image). Scripts are atomic and use the broker's clock.
# The client repeats a script whose response was lost. Its token may already be in the set, so the script removes it.
_ACQUIRE = """
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
local resume_at = time[1] + time[2] / 1000000 + ARGV[1]
if resume_at > tonumber(redis.call('GET', KEYS[1]) or 0) then
    redis.call('SET', KEYS[1], string.format('%.6f', resume_at), 'PX', math.ceil(ARGV[1] * 1000) + 1)
end
"""


class SharedLimiter:
    """Limits the requests of all workers together, on the broker. If it is unavailable, each process limits its own.

    A slot is a lease that a background thread renews. The slots of a killed worker expire.

    Args:
        client: Redis client of the broker.
        lease_seconds: Time after which the slots of a killed worker expire.
    """

    def __init__(self, client: redis.Redis, lease_seconds: float = 12.0) -> None:
        self._client = client
        self._lease_seconds = lease_seconds
        self._local = LocalLimiter()
        self._held: dict[str, str] = {}
        self._acquire, self._renew, self._pause = map(client.register_script, (_ACQUIRE, _RENEW, _PAUSE))
        self._renewing = threading.Thread(target=self._renew_always, name="host-slots", daemon=True)
        self._lock = threading.Lock()

    def acquire(self, host: str, token: str, rule: HostRule, large: bool) -> float:
        self._start_renewing()
        slots = _name(host, "slots")
        intervals = (rule.interval_seconds, rule.large_interval_seconds)
        try:
            answer = self._acquire(
                keys=[slots, _name(host, "next"), _name(host, "large")],
                args=[token, rule.connections, *intervals, int(large), self._lease_seconds],
            )
        except redis.RedisError:
            log.warning("broker unavailable: the rate limit of %s applies to this process only", host)
            return self._local.acquire(host, token, rule, large)
        if answer == b"full":
            return random.uniform(0.05, 0.15)
        wait = float(answer)
        if wait == 0:
            self._held[token] = slots
        return wait

    def release(self, host: str, token: str) -> None:
        slots = self._held.pop(token, None)
        if slots:
            with suppress(redis.RedisError):  # the lease expires
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
    """Limits the requests to each host. All threads of a worker share one instance.

    Args:
        rules: Rate limit rules of the hosts.
        limiter: Limiter that grants the slots; a :class:`LocalLimiter` by default.
        sleep: Function that waits for a number of seconds.
    """

    def __init__(
        self, rules: HostRules, limiter: Limiter | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.rules = rules
        self._limiter = limiter or LocalLimiter()
        self._sleep = sleep
        self._lock = threading.Lock()
        self._semaphores: dict[str, threading.Semaphore] = {}

    @contextmanager
    def slot(self, host: str, longest: int | None = 0, seconds: float = math.inf) -> Iterator[None]:
        """Wait for a slot, and hold it for the duration of the ``with`` block.

        Args:
            host: Host name, with the port if the URL has one.
            longest: Longer side of the requested image, in pixels; None for the full size, 0 for no image.
            seconds: Longest wait for the limits of the host.

        Raises:
            FetchError: The wait would be longer.
        """
        rule, token, end = self.rules.find(host), uuid.uuid4().hex, time.monotonic() + seconds
        semaphore, is_large = self._semaphore(host, rule.connections), rule.is_large(longest)

        def acquire() -> float:
            wait = self._limiter.acquire(host, token, rule, is_large)
            if wait and time.monotonic() + wait > end:
                raise FetchError(f"{host} is busy: its request limits allow no request now. Try again later.")
            return wait

        if is_large:
            # Large images are requested one at a time. The others wait outside the semaphore: small requests continue.
            with self._semaphore(f"{host} large", 1):
                self._wait(semaphore, rule.interval_seconds, acquire)
        else:
            self._wait(semaphore, math.inf, acquire)
        try:
            yield
        finally:
            self._limiter.release(host, token)
            semaphore.release()

    def pause(self, host: str, seconds: float) -> None:
        """Grant no slot of a host for some seconds."""
        self._limiter.pause(host, seconds)

    def _wait(self, semaphore: threading.Semaphore, max_wait: float, acquire: Callable[[], float]) -> None:
        """Acquire the semaphore and a slot. The semaphore is released during waits longer than ``max_wait``."""
        while True:
            with ExitStack() as held:
                held.enter_context(semaphore)
                while 0 < (wait := acquire()) <= max_wait:
                    self._sleep(wait)
                if wait == 0:
                    held.pop_all()
                    return
            self._sleep(wait)

    def _semaphore(self, name: str, size: int) -> threading.Semaphore:
        # Most threads of a process wait at the semaphore, so that only a few poll the limiter.
        with self._lock:
            return self._semaphores.setdefault(name, threading.Semaphore(size))
