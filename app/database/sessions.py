"""Database sessions, and the translation of database errors.

A database that is unreachable, locked, full, damaged or read-only, or that hangs, raises
:class:`~app.errors.DatabaseUnavailable`. A violated constraint or an invalid statement is a bug, so its error
passes unchanged.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from sqlalchemy import URL, exc
from sqlalchemy.orm import Session, sessionmaker

from app.database import migrations
from app.database.connections import WORKER_SECONDS, get_limit, open_engine, wait_at_most
from app.errors import DatabaseUnavailable

log = logging.getLogger(__name__)


# Seconds after which a failed session means that the server hangs. Other failures are faster.
HANGS_SECONDS = 1.0


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the errors of an outage into ``DatabaseUnavailable``.

    Raises:
        DatabaseUnavailable: The database cannot be used now.
    """
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError) as error:
        if not _is_outage(error):
            raise
        log.error("The database cannot be used: %s", _read_reason(error))
        raise DatabaseUnavailable("The database cannot be used now: try again later.") from error


@contextmanager
def explain_errors(url: URL) -> Iterator[None]:
    """Turn the errors of a database that cannot be used at start into one sentence with the reason.

    Raises:
        DatabaseUnavailable: The database cannot be used.
    """
    place = url.database
    try:
        yield
        return
    except (exc.DBAPIError, exc.TimeoutError) as error:
        if not _is_outage(error):
            raise
        reason = _read_reason(error)
    except sqlite3.Error as error:
        reason = str(error)
    except (OSError, NotImplementedError) as error:  # filelock raises the second where the file system has no locks
        reason, place = getattr(error, "strerror", None) or str(error), getattr(error, "filename", None) or place
    if url.get_backend_name() == "sqlite":
        reason = f"{place}: {reason}; the user of the service must be able to write the file and its folder"
    raise DatabaseUnavailable(f"The database cannot be used now: {reason}.")


def _read_reason(error: exc.DBAPIError | exc.TimeoutError) -> str:
    """Return the first line of a reason, without the statement and its parameters: they include URLs with secrets."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _is_outage(error: exc.DBAPIError | exc.TimeoutError) -> bool:
    original = getattr(error, "orig", None)
    if getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return "no such table" in str(original)  # the file was emptied
    # SQLite raises the base class for a file that is damaged, or not a database.
    outages = exc.OperationalError | exc.InternalError | exc.TimeoutError
    return isinstance(error, outages) or type(error) is exc.DatabaseError


class CircuitBreaker:
    """Refuses most requests while a database server hangs, so that they occupy no threads.

    One request at a time still tries the server. Workers always try it, and wait.
    """

    def __init__(self) -> None:
        self._hangs = False
        self._trial = threading.RLock()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Enter a session, unless the server hangs and another request tries it.

        Raises:
            DatabaseUnavailable: The server hangs, and another request tries it.
        """
        if not self._hangs or get_limit() >= WORKER_SECONDS:
            with self._track_outage():
                yield
        elif self._trial.acquire(blocking=False):
            try:
                with self._track_outage():
                    yield
            finally:
                self._trial.release()
        else:
            raise DatabaseUnavailable("The database does not answer: try again later.")

    @contextmanager
    def _track_outage(self) -> Iterator[None]:
        """Record whether the server hangs."""
        began = time.monotonic()
        try:
            yield
            self._hangs = False
        except DatabaseUnavailable:
            self._hangs = time.monotonic() - began > HANGS_SECONDS
            raise


# Time limit of the migrations at start; large tables take minutes.
MIGRATION_SECONDS = 3600.0


class Database:
    """Sessions on one database, for several threads and processes.

    Args:
        url: SQLAlchemy URL of an SQLite file or of PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        # An SQLite file cannot hang, it can only be locked.
        self._guard = nullcontext if self.engine.dialect.name == "sqlite" else CircuitBreaker().guard
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    def upgrade(self) -> None:
        """Upgrade the schema; create the file and the tables if they are missing. Processes may do so concurrently.

        Raises:
            DatabaseUnavailable: The database cannot be used, or a later version has upgraded it.
        """
        with wait_at_most(MIGRATION_SECONDS), explain_errors(self.engine.url):
            migrations.upgrade(self.engine)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Enter a transaction. Commit it at the end, or roll it back after an error.

        Raises:
            DatabaseUnavailable: The database cannot be used now.
        """
        with self._guard(), translate_errors(), self._sessions.begin() as session:
            yield session

    def close(self) -> None:
        """Close the connections; the next session opens new ones."""
        self.engine.dispose()

    def discard_connections(self) -> None:
        """Drop the connections that a forked process inherited, without closing those of its parent."""
        self.engine.dispose(close=False)
