"""How long the request in hand may take: whoever serves it sets an end to it, and a view may ask for more time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Deadline:
    """Calls a function when the time is over, from a thread of its own."""

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        self._end = end
        self._at = time.monotonic() + seconds
        self._over = False
        self._changed = threading.Condition()
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    def set(self, seconds: float) -> None:
        """Let the time be over so many seconds from now, whatever was said before."""
        with self._changed:
            self._at = time.monotonic() + seconds
            self._changed.notify()

    def cancel(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._over and (left := self._at - time.monotonic()) > 0:
                self._changed.wait(left)
            if not self._over:
                self._end()


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def end_after(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call a function when what is done here takes longer than some seconds, or than it is allowed meanwhile."""
    deadline = Deadline(seconds, end)
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)
        deadline.cancel()


def allow(seconds: float) -> None:
    """Let the request in hand take so many seconds from now. Where nothing ends requests, nothing is to be done."""
    if deadline := _current.get():
        deadline.set(seconds)
