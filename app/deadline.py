"""How long the request in hand may take: whoever serves it sets an end to it, and a view may ask for more time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Deadline:
    """Calls a function when the time is over, from a thread of its own."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._timer: threading.Timer | None = None

    def set(self, seconds: float) -> None:
        """Let the time be over so many seconds from now, whatever was said before."""
        self.cancel()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        if self._timer:
            self._timer.cancel()


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def end_after(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call a function when what is done here takes longer than some seconds, or than it is allowed meanwhile."""
    deadline = Deadline(end)
    deadline.set(seconds)
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
