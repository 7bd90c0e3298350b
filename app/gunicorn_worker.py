"""The worker of gunicorn that serves the API, which waits for no client longer than ``REQUEST_SECONDS``.

Gunicorn's own gives a thread to a request from its first byte to its last, however slowly they come: some twenty
clients that send a byte a second hold all threads for ever. Here a connection is cut when a request takes too long.
"""

import contextlib
import socket
import threading
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from app.config import Settings


class BoundedWorker(ThreadWorker):
    def init_process(self) -> None:
        self.request_seconds = Settings.load().request_seconds
        super().init_process()

    def handle(self, conn: TConn) -> Any:
        """Read a request, answer it, and return what gunicorn does with the connection then."""
        watch = threading.Timer(self.request_seconds, _cut, [conn.sock])
        watch.daemon = True
        watch.start()
        try:
            return super().handle(conn)
        finally:
            watch.cancel()


def _cut(connection: socket.socket) -> None:
    """End a connection, at which whoever waits for it wakes up."""
    with contextlib.suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)
