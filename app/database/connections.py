"""Connections to the database, and their time limits.

========================  ==========================  =====================================
wait for                  at most                     enforced by
========================  ==========================  =====================================
a lock of SQLite          the limit                   ``PRAGMA busy_timeout``
an answer of PostgreSQL   limit - `CONNECT_SECONDS`   ``psycopg.Connection.wait``
a new connection          `CONNECT_SECONDS`           ``connect_timeout``, ``pool_timeout``
========================  ==========================  =====================================

The limit is 30 s in a worker and 10 s in a request (:func:`wait_at_most`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, exc

WORKER_SECONDS = 30.0
CONNECT_SECONDS = 3

_limit: ContextVar[float] = ContextVar("limit", default=WORKER_SECONDS)


@contextmanager
def wait_at_most(seconds: float) -> Iterator[None]:
    """Limit each wait of this thread for the database, in seconds."""
    token = _limit.set(seconds)
    try:
        yield
    finally:
        _limit.reset(token)


def get_limit() -> float:
    return _limit.get()


def open_engine(url: str) -> Engine:
    # Every thread of a worker and its heartbeat thread may need a connection at the same time.
    engine = create_engine(
        url,
        pool_pre_ping=not url.startswith("sqlite"),  # ``_check_sqlite`` is enough for a file
        pool_size=10,
        max_overflow=60,
        pool_timeout=CONNECT_SECONDS,
        hide_parameters=True,
    )
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _open_file)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "checkout", _check_sqlite)
    elif engine.dialect.driver == "psycopg":
        event.listen(engine, "do_connect", _connect_to_postgresql)
    return engine


def _open_file(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
    """Open an existing file. By default, SQLite would replace a deleted file with an empty one."""
    (path,) = arguments
    return dialect.connect(f"{Path(path).as_uri()}?mode=rw", **options, uri=True)


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
    # With WAL and NORMAL, a power cut may lose the last transactions but does not damage the file. A rollback journal
    # needs FULL, the default: https://sqlite.org/pragma.html#pragma_synchronous
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        connection.execute("PRAGMA synchronous=NORMAL")
    path = str(connection.execute("PRAGMA database_list").fetchone()[2])
    record.info["file"] = path, _identify(path)


def _check_sqlite(connection: Any, record: Any, _: Any) -> None:
    """Refuse a connection to a file that was deleted or replaced: its changes would be lost."""
    connection.execute(f"PRAGMA busy_timeout={round(1000 * _limit.get())}")
    path, file = record.info["file"]
    if _identify(path) != file:
        raise exc.DisconnectionError("The file was removed or replaced.")


def _identify(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect_to_postgresql(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
    # The server ends statements after the time for which a worker waits.
    defaults = {"connect_timeout": CONNECT_SECONDS, "options": f"-c statement_timeout={round(1000 * WORKER_SECONDS)}"}
    return _load_psycopg().connect(*arguments, **defaults | options)


@cache
def _load_psycopg() -> Any:
    """Import psycopg (9 MB of memory) only with PostgreSQL; return its connection class with a time limit."""
    import psycopg
    from psycopg.pq import TransactionStatus

    class Connection(psycopg.Connection[Any]):
        """A connection with a time limit for a server that hangs.

        ``statement_timeout`` needs a server that works. ``tcp_user_timeout`` does not help either, because the kernel
        of a server that hangs still acknowledges packets.
        """

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            if timeout is None:
                timeout = max(1.0, _limit.get() - CONNECT_SECONDS)
            try:
                return super().wait(gen, interval, timeout)
            except psycopg.OperationalError as error:
                if self.info.transaction_status != TransactionStatus.ACTIVE:
                    raise  # the server answered with an error
                self.close()
                raise psycopg.OperationalError("the server does not answer") from error

    return Connection
