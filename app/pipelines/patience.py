"""When to stop asking: a library that lets down one image after the other is left alone for this time."""

import threading

from app.errors import FetchError

MOST_IN_A_ROW = 8


class Patience:
    """Counts the images in a row that did not come although they were asked for again and again.

    A server that is down, or that has had enough of us, is not asked for the other three hundred pages too. They are
    failed canvases with this reason, and a retry fetches them another day. Threads may share one.
    """

    def __init__(self, most_in_a_row: int = MOST_IN_A_ROW) -> None:
        self._most = most_in_a_row
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._last = ""

    @property
    def lost(self) -> str:
        """Why the rest is not asked for, or ""."""
        if self._in_a_row < self._most:
            return ""
        return (
            f"Not asked for, after {self._most} images in a row that did not come: {self._last} Ask for a retry later."
        )

    def note(self, error: FetchError | None) -> None:
        """Count how an image ended. One that is refused for good says that the server answers."""
        with self._lock:
            if error is not None and error.temporary:
                self._in_a_row += 1
                self._last = error.message[:300]
            else:
                self._in_a_row = 0
