"""Sessions on the database, and the boundary of its errors.

A database that is away, hangs, is locked, full, damaged or read-only raises
:class:`~app.errors.DatabaseUnavailable`. A violated constraint, or a statement that is wrong, is a fault of the program
and passes unchanged.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from sqlalchemy import event, exc
from sqlalchemy.orm import Session, sessionmaker

from app.database import migrations
from app.database.connections import WORKER_SECONDS, get_limit, open_engine, wait_at_most
from app.errors import DatabaseUnavailable

log = logging.getLogger(__name__)


# A failure that took longer means that the server did not answer.
HANGS_SECONDS = 1.0


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate the errors of an outage.

    Raises:
        DatabaseUnavailable: The database cannot be used now.
    """
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError) as error:
        if not _is_outage(error):
            raise
        # Neither the statement nor its parameters, which contain addresses with secrets.
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        log.error("The database cannot be used: %s", reason)
        raise DatabaseUnavailable("The database cannot be used now: try again later.") from error


def _is_outage(error: exc.DBAPIError | exc.TimeoutError) -> bool:
    original = getattr(error, "orig", None)
    if getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return "no such table" in str(original)  # the file was emptied
    # SQLite raises the base class for a file that is damaged, or not a database.
    outages = exc.OperationalError | exc.InternalError | exc.TimeoutError
    return isinstance(error, outages) or type(error) is exc.DatabaseError


class CircuitBreaker:
    """While a server hangs, lets one request at a time try it. Refuses the others at once: they hold no thread.

    Workers always try, and wait.
    """

    def __init__(self) -> None:
        self._hangs = False
        self._trial = threading.RLock()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Refuse a request while another tries the server.

        Raises:
            DatabaseUnavailable: Another request tries the server.
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
        """Notice when an outage begins and ends."""
        began = time.monotonic()
        try:
            yield
            self._hangs = False
        except DatabaseUnavailable:
            self._hangs = time.monotonic() - began > HANGS_SECONDS
            raise


# Large tables take a while.
MIGRATION_SECONDS = 3600.0


class Database:
    """Sessions on one database, for several threads and processes.

    Args:
        url: SQLAlchemy URL of an SQLite file or of PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        # A file never hangs: it is locked for writing.
        self._guard = nullcontext if self.engine.dialect.name == "sqlite" else CircuitBreaker().guard
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    def upgrade(self) -> None:
        """Bring the schema up to date; create the file and the tables that are missing. Several processes may do so.

        Raises:
            DatabaseUnavailable: The database cannot be used, or a later version has upgraded it.
        """
        with wait_at_most(MIGRATION_SECONDS), translate_errors():
            migrations.upgrade(self.engine)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Enter a transaction. Commit it at the end, or roll it back after an error.

        Raises:
            DatabaseUnavailable: The database cannot be used now.
        """
        with self._guard(), translate_errors(), self._sessions.begin() as session:
            yield session

    def on_commit(self, call: Callable[[Session], None]) -> None:
        """Call a function with every session after its commit, in the same thread."""
        event.listen(self._sessions, "after_commit", call)

    def close(self) -> None:
        """Close the connections; the next session opens new ones."""
        self.engine.dispose()

    def discard_connections(self) -> None:
        """Forget the connections that a forked process shares with its parent, without closing them."""
        self.engine.dispose(close=False)
