"""Outages: the boundary of SQLAlchemy's errors.

A database that is away, hangs, is locked, full, damaged or read-only leaves it as
:class:`~app.errors.DatabaseUnavailable`. A violated constraint, or a statement that is wrong, is a fault of the program
and passes unchanged.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from app.database.connections import WORKER_SECONDS, get_limit
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
            with self._watch():
                yield
        elif self._trial.acquire(blocking=False):
            try:
                with self._watch():
                    yield
            finally:
                self._trial.release()
        else:
            raise DatabaseUnavailable("The database does not answer: try again later.")

    @contextmanager
    def _watch(self) -> Iterator[None]:
        """Notice when an outage begins and ends."""
        began = time.monotonic()
        try:
            yield
            self._hangs = False
        except DatabaseUnavailable:
            self._hangs = time.monotonic() - began > HANGS_SECONDS
            raise
