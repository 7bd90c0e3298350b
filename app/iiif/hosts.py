"""Being polite: how many requests a host gets at once, and how far apart.

The IIIF community asks harvesters for little load and a name (https://iiif.io/api/image/3.0/implementation/); a host
that answers 429 or 503 with ``Retry-After`` is left alone for so long.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class _Host:
    slots: threading.Semaphore
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_request: float = 0.0


class HostLimits:
    """Takes turns at each host. One instance serves every thread of a worker.

    Args:
        connections: Requests to one host at the same time.
        interval_seconds: Least time between the starts of two requests to one host.
        clock: Tells the time in seconds.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        connections: int,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = interval_seconds
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = defaultdict(lambda: _Host(threading.Semaphore(connections)))

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for a turn at a host and hold it while a request runs."""
        host = self._host(name)
        with host.slots:
            with host.lock:
                start = max(self._clock(), host.next_request)
                host.next_request = start + self._interval
            self._sleep(max(0.0, start - self._clock()))
            yield

    def pause(self, name: str, seconds: float) -> None:
        """Send a host nothing for some seconds."""
        host = self._host(name)
        with host.lock:
            host.next_request = max(host.next_request, self._clock() + seconds)

    def _host(self, name: str) -> _Host:
        with self._lock:
            return self._hosts[name]
