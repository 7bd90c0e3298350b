"""Taking turns at libraries' servers: so many requests at once, so far apart.

The IIIF community asks harvesters for little load and a name (https://iiif.io/api/image/3.0/implementation/); a host
that answers 429 or 503 with ``Retry-After`` is left alone for so long.
"""

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from app.iiif.hosts import HostRules
from app.iiif.request_counts import Ledger, LocalLedger


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
