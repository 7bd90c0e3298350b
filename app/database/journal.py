"""The journal of an SQLite file: a write-ahead log (WAL), or a rollback journal where a file system has no WAL.

WAL lets readers and a writer work at the same time. It needs memory that processes share through a file, which some
network, virtual and shared file systems do not have (https://sqlite.org/wal.html#noshm).
"""

import errno
import logging
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

log = logging.getLogger(__name__)

# Errors of a file system on which WAL does not work.
_UNSUPPORTED = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY}
)
_SUFFIXES = ("", "-wal", "-shm", "-journal")


def choose_journal(file: Path) -> None:
    """Set the journal of a file. Its processes must not start at the same time.

    Raises:
        OSError: The file or its folder is read-only.
        sqlite3.Error: The file cannot be used.
    """
    for path in (file, file.parent):
        if not os.access(path, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    mode = _read_mode(file)
    if mode == "wal":
        return
    if mode and _supports_wal(file.with_name(f".{file.name}-probe-{os.getpid()}")) and _supports_wal(file):
        return
    # With exclusive locking, WAL needs no shared memory, so an existing log can be read and removed.
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=DELETE")
    log.warning("The file system of %s does not support WAL of SQLite: writes are slower, and block reads.", file)


def _read_mode(file: Path) -> str:
    """Return the journal mode of a file; "" if the file requires WAL and the file system does not support it."""
    try:
        with closing(sqlite3.connect(file)) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    except sqlite3.OperationalError as error:
        if _is_unsupported(error):
            return ""
        raise


def _supports_wal(file: Path) -> bool:
    """Switch a file to WAL and use it; return whether this works. Remove a file that did not exist."""
    existed = file.exists()
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            return bool(mode == "wal")
    except sqlite3.OperationalError as error:
        if _is_unsupported(error):
            return False
        raise
    finally:
        if not existed:
            for suffix in _SUFFIXES:
                with suppress(OSError):
                    os.unlink(f"{file}{suffix}")


def _is_unsupported(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in _UNSUPPORTED
