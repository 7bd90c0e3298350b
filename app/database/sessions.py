"""Sessions on the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session, sessionmaker

from app.database import migrations
from app.database.connections import Outage, prepare, wait_at_most

# To bring large tables up to date takes a while.
MIGRATION_SECONDS = 3600.0


class Database:
    """Sessions on one database, made for several threads and processes.

    Args:
        url: An SQLAlchemy URL: the SQLite file at the root, or PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        # Every thread of a worker and its heartbeat may ask at the same moment.
        self.engine = create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=60, hide_parameters=True)
        prepare(self.engine)
        self._outage = Outage(self.engine.dialect.name != "sqlite")
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    def upgrade(self) -> None:
        """Bring the schema up to date; make the file and the tables that are missing. Several processes may do so.

        Raises:
            DatabaseUnavailable: The database does not answer, the file is none, or it was made by a later version.
        """
        with wait_at_most(MIGRATION_SECONDS), self._outage.watch():
            migrations.upgrade(self.engine)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back when an error passes through.

        Raises:
            DatabaseUnavailable: The database cannot be used now.
        """
        with self._outage.watch(), self._sessions.begin() as session:
            yield session

    def on_commit(self, call: Callable[[Session], None]) -> None:
        """Have a function called with every session that has just been committed, in its thread."""
        event.listen(self._sessions, "after_commit", call)

    def close(self) -> None:
        """Close the connections; the next session opens new ones."""
        self.engine.dispose()

    def leave_to_parent(self) -> None:
        """Use none of the connections that a forked process has from its parent, and leave them open for it."""
        self.engine.dispose(close=False)
