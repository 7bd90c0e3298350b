"""Connections to the database: how long it is waited for, and what its errors mean.

This is the boundary of SQLAlchemy's errors: a database that is away, silent, locked, full, broken or not to be written
leaves it as :class:`~app.errors.DatabaseUnavailable`. A constraint that is broken, or a statement that is wrong, is a
fault of the program and passes as it is.
"""

import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, exc

from app.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

# A worker waits so long for all that is done in a session.
PATIENCE_SECONDS = 30.0
# What took longer than this failed because nobody answered.
SILENCE_SECONDS = 1.0

_patience: ContextVar[float] = ContextVar("patience", default=PATIENCE_SECONDS)
_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextmanager
def wait_at_most(seconds: float) -> Iterator[None]:
    """Let each session of this thread wait for the database no longer than this."""
    with _set(_patience, seconds):
        yield


@contextmanager
def _set(variable: ContextVar[float], value: float) -> Iterator[None]:
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)


def _seconds_left() -> float:
    return max(0.0, min(_patience.get(), _deadline.get() - time.monotonic()))


def _seconds_to_begin() -> float:
    """Return how long the server is waited for before it has done anything: a statement may take its time."""
    return min(_seconds_left(), max(SILENCE_SECONDS, min(_patience.get(), PATIENCE_SECONDS) / 5))


class Outage:
    """What becomes of the errors of a database.

    When it was silent, one request at a time tries it again; others are refused at once, and hold no thread.

    Args:
        is_server: A file is never silent, only locked for writing.
    """

    def __init__(self, is_server: bool) -> None:
        self._is_server = is_server
        self._silent = False
        self._trial = threading.RLock()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Translate the errors of what is done with the database, which must be over when patience is.

        Raises:
            DatabaseUnavailable: It cannot be used now.
        """
        is_request = _patience.get() < PATIENCE_SECONDS
        with _set(_deadline, time.monotonic() + _patience.get()):
            if not (is_request and self._silent):
                yield from self._translate(is_request)
            elif self._trial.acquire(blocking=False):
                try:
                    yield from self._translate(is_request)
                finally:
                    self._trial.release()
            else:
                raise DatabaseUnavailable("The database does not answer: try again later.")

    def _translate(self, is_request: bool) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
            self._silent = False
        except (exc.DBAPIError, exc.TimeoutError) as error:
            if not _is_outage(error):
                raise
            self._silent = self._is_server and is_request and time.monotonic() - began > SILENCE_SECONDS
            # Neither the statement nor its parameters, in which there are addresses of all kinds.
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            log.error("The database cannot be used: %s", reason)
            raise DatabaseUnavailable("The database cannot be used now: try again later.") from error


def _is_outage(error: exc.DBAPIError | exc.TimeoutError) -> bool:
    """Tell what is the database's own trouble from what is wrong with a statement."""
    original = getattr(error, "orig", None)
    if getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return "no such table" in str(original)  # the file was emptied
    # DatabaseError itself is SQLite's word for a file that is none of its own, or damaged.
    own = isinstance(error, exc.OperationalError | exc.InternalError | exc.TimeoutError)
    return own or type(error) is exc.DatabaseError


def prepare(engine: Engine) -> None:
    """Have the connections of an engine made and watched as its kind of database needs it."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _open_file)
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "checkout", _take_sqlite)
    elif engine.dialect.driver == "psycopg":
        event.listen(engine, "do_connect", _connect_to_postgresql)
        event.listen(engine, "connect", _tune_postgresql)
        engine.dialect.do_ping = partial(_ping_postgresql, engine.dialect.do_ping)  # type: ignore[method-assign]


def _open_file(dialect: Any, record: Any, cargs: Any, cparams: Any) -> Any:
    """Open a file that is there: SQLite makes an empty one in place of one that was deleted."""
    (path,) = cargs
    if not os.path.isabs(path):  # in memory, or an URI of the operator's own
        return None
    return dialect.connect(f"{Path(path).as_uri()}?mode=rw", **cparams, uri=True)


def _tune_sqlite(connection: Any, record: Any) -> None:
    # Readers and one writer at a time, across processes; a writer waits instead of failing. WAL with
    # NORMAL may lose the last moment in a power cut, never the file: https://sqlite.org/wal.html
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    path = str(connection.execute("PRAGMA database_list").fetchone()[2])
    record.info["file"] = path, _identify(path)


def _take_sqlite(connection: Any, record: Any, _: Any) -> None:
    """Refuse a connection to a file that is no longer the one under its name: what is written there would be lost."""
    connection.execute(f"PRAGMA busy_timeout={round(1000 * _seconds_left())}")
    path, file = record.info["file"]
    if _identify(path) != file:
        raise exc.DisconnectionError("The file was removed or replaced.")


def _identify(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect_to_postgresql(dialect: Any, record: Any, cargs: Any, cparams: Any) -> Any:
    if not _seconds_left():
        raise dialect.dbapi.OperationalError("the server does not answer")
    seconds = max(2, math.ceil(_seconds_to_begin()))  # psycopg knows no shorter wait
    return _build_patient_connection().connect(*cargs, **{"connect_timeout": seconds} | cparams)


@cache
def _build_patient_connection() -> Any:
    import psycopg

    class PatientConnection(psycopg.Connection[Any]):
        """A connection that waits no longer than its thread may: a server that hangs keeps to no timeout of its own."""

        def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
            try:
                return super().wait(gen, *arguments, **{"timeout": _seconds_left()} | options)
            except psycopg.errors._WaitTimeout as error:
                self.close()
                raise psycopg.OperationalError("the server does not answer") from error

    return PatientConnection


def _ping_postgresql(ping: Callable[[Any], bool], connection: Any) -> bool:
    """Ask whether a connection of the pool still stands; when nobody says so, the session is over."""
    deadline = _deadline.get()
    _deadline.set(time.monotonic() + _seconds_to_begin())
    try:
        return ping(connection)
    finally:
        if _seconds_left():
            _deadline.set(deadline)


def _tune_postgresql(connection: Any, _: Any) -> None:
    # The server ends what nobody waits for any more.
    connection.execute(f"SET statement_timeout = {round(1000 * PATIENCE_SECONDS)}")
    connection.commit()
