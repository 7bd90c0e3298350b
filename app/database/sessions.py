"""Sessions on the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from app.database import migrations
from app.database.connections import open_engine, wait_at_most
from app.database.outages import CircuitBreaker, translate_errors

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

    def leave_to_parent(self) -> None:
        """Forget the connections that a forked process shares with its parent, without closing them."""
        self.engine.dispose(close=False)
