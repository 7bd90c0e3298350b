"""The worker of gunicorn that serves the API, in which no client holds what others need.

Gunicorn's own gives a thread to a connection before anything was sent, and to a request however slowly it comes; and
its one loop, on which all connections hang, waits two seconds for each client that does not close its own. Some
twenty clients hold everything that way. Here a connection waits without a thread till the head of a request is
there, is cut when the request takes longer than ``REQUEST_SECONDS``, and is closed without anybody waiting for it.
"""

import contextlib
import math
import re
import selectors
import socket
import time
from collections import deque
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers.gthread import TConn, ThreadWorker

from app.config import Settings
from app.server.deadline import end_after
from app.server.refusals import Refusal

# For the head of a request, from the moment when it is waited for; for what is on the way when a connection ends.
HEAD_SECONDS = 10.0
LINGER_SECONDS = 2.0
# For the rest of a body that was answered unread, while a thread waits.
DRAIN_SECONDS = 0.1
MOST_HEAD_BYTES = 64 * 1024
_PIECE = 64 * 1024
# Gunicorn refuses a line that ends with nothing but a line feed.
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")


class Connection(TConn):
    """A connection, and what came over it and was not yet read."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.data_ready = True  # a thread has it only then
        self.received = bytearray()

    def has_head(self) -> bool:
        """Tell whether the head of a request is there, or enough to see that none will come."""
        start = 2 if self.received.startswith(b"\r\n") else 0  # RFC 9112, section 2.2
        whole = self.received.find(b"\r\n\r\n", start) >= 0
        return whole or len(self.received) > MOST_HEAD_BYTES or bool(_BARE_LINE_FEED.search(self.received))

    def init(self) -> None:
        """Make the parser, once, and give it what came."""
        super().init()
        end = self.received.find(b"\r\n\r\n", 2)
        if (len(self.received) if end < 0 else end) > MOST_HEAD_BYTES:
            raise LimitRequestHeaders("max head bytes")
        self.parser.unreader.unread(bytes(self.received))
        self.received.clear()


class BoundedWorker(ThreadWorker):
    def init_process(self) -> None:
        self.request_seconds = Settings.load().request_seconds
        self.closing_conns: deque[Connection] = deque()
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another worker was first, or the client is gone
            return
        self.nr_conns += 1
        self._await_head(Connection(self.cfg, sock, address, listener.getsockname()))
        for conns in (self.pending_conns, self.closing_conns):
            if conns and self.nr_conns >= self.worker_connections:  # who has been silent longest makes room
                self._drop(conns.popleft())

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Await another request on a connection that was kept."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_head(conn)

    def on_pending_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Take what came of a head; a thread gets the connection when that is whole."""
        piece = _receive(client)
        conn.received += piece or b""
        if conn not in self.pending_conns:  # it made room, in the same round of the loop
            return
        if piece == b"":
            self.pending_conns.remove(conn)
            self._drop(conn)
        elif conn.has_head():
            self.poller.unregister(client)
            self.pending_conns.remove(conn)
            self.enqueue_req(conn)

    def _await_head(self, conn: Connection) -> None:
        if conn.has_head():
            self.enqueue_req(conn)
        else:
            self._watch(conn, self.pending_conns, HEAD_SECONDS, self.on_pending_socket_readable)

    def handle(self, conn: Connection) -> Any:
        """Read a request, answer it, and return what gunicorn does with the connection then."""
        with end_after(self.request_seconds, partial(_cut, conn.sock)):
            return super().handle(conn)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + DRAIN_SECONDS))

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """Keep a connection whose request was answered, or end it."""
        if fs.cancelled() or fs.exception() or not fs.result():
            self._close(conn)
            return
        conn.received += conn.parser.unreader.take_buffered()
        if conn.received:  # the next request came with the one before
            self._await_head(conn)
        else:
            super().finish_request(conn, fs)

    def _close(self, conn: Connection) -> None:
        """End a connection; what the client still sends is taken for a while, else it would lose the answer.

        https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # it has ended already
            self._drop(conn)
        else:
            self._watch(conn, self.closing_conns, LINGER_SECONDS, self._drain)

    def _drain(self, conn: Connection, client: socket.socket) -> None:
        if _receive(client) == b"" and conn in self.closing_conns:
            self.closing_conns.remove(conn)
            self._drop(conn)

    def _watch(self, conn: Connection, conns: "deque[Connection]", seconds: float, when_readable: Any) -> None:
        """Have a function called when something comes, and give up after some seconds."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + seconds
        conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(when_readable, conn))

    def murder_pending(self) -> None:
        """Give up whoever was waited for long enough; a worker that ends waits for nobody."""
        now = time.monotonic() if self.alive else math.inf
        for conns in (self.pending_conns, self.closing_conns):
            while conns and conns[0].timeout <= now:
                self._drop(conns.popleft())

    def _drop(self, conn: Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it is not polled
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be read, or an error that the application let through."""
        refusal = Refusal.of(exc)
        # Never what was sent: a key may be in it.
        if refusal.status == 500:
            self.log.error("A request failed", exc_info=exc)
        else:
            self.log.warning("A request from %s was refused: %s", (addr or ("a socket",))[0], type(exc).__name__)
        with contextlib.suppress(OSError):  # the client is gone
            util.write_nonblock(client, refusal.format())


def _receive(client: socket.socket) -> bytes | None:
    """Return what has come, b"" when the client is gone, None when nothing came."""
    try:
        return client.recv(_PIECE)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _cut(connection: socket.socket) -> None:
    """End a connection, at which whoever waits for it wakes up."""
    with contextlib.suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)
