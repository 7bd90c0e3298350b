"""Migrations of the schema, run by Alembic when a process starts.

To add one: change ``tables.py``, run ``alembic revision --autogenerate --rev-id 0003 -m "what changes"``, then check
and complete the file that it wrote to ``versions/``. ``test_migrations.py`` fails while the two disagree.

SQLite cannot alter most of a table. A batch copies the table there, and is a plain ``ALTER TABLE`` on PostgreSQL::

    def upgrade() -> None:
        with op.batch_alter_table("jobs") as jobs:
            jobs.add_column(sa.Column("priority", sa.Double(), nullable=False, server_default="0"))
            jobs.drop_column("host")
        op.execute("UPDATE jobs SET priority = 1 WHERE kind = 'training'")

Rules:

- A migration runs in one transaction, as a whole or not at all. No other process changes the schema meanwhile.
- It imports nothing from ``app``: that code will change, the migration will not.
- It does not touch ``apps``, which users create by hand.
- There is no downgrade. To go back, restore a backup.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine

from app.errors import DatabaseUnavailable
from app.storage import lock_folder

# Versions without Alembic use the same number.
ADVISORY_LOCK = 1


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema of a database up to date; create what is missing.

    Raises:
        DatabaseUnavailable: A later version of this program has upgraded it.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with lock_schema(engine) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise DatabaseUnavailable(
                f"The database was upgraded by a later version: install it, or restore a backup ({error})."
            ) from error


def lock_schema(engine: Engine) -> AbstractContextManager[Connection]:
    """Enter a transaction during which no other process can change the schema; yield its connection."""
    return _lock_sqlite(engine) if engine.dialect.name == "sqlite" else _lock_server(engine)


@contextmanager
def _lock_server(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        yield connection


@contextmanager
def _lock_sqlite(engine: Engine) -> Iterator[Connection]:
    file = Path(engine.url.database or "")
    file.parent.mkdir(parents=True, exist_ok=True)
    with lock_folder(file.parent):
        file.touch()
        with engine.connect() as connection:
            connection.detach()  # never back to the pool: its foreign keys are off
            # The file keeps the mode. The first switch needs the file to itself and does not wait for it.
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            # Otherwise a batch, which drops the table that it has copied, would delete the rows that refer to it.
            # SQLite ignores this inside a transaction.
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()
