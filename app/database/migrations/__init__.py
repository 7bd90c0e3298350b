"""Migrations of the schema, run by Alembic when a process starts.

To add a migration, change ``tables.py`` and run ``alembic revision --autogenerate --rev-id 0003 -m "what changes"``.
Then check and complete the new file in ``versions/``. ``test_migrations.py`` fails while it disagrees with
``tables.py``.

SQLite has few ``ALTER TABLE`` statements. A batch copies the table on SQLite, and alters it in place on PostgreSQL::

    def upgrade() -> None:
        with op.batch_alter_table("jobs") as jobs:
            jobs.add_column(sa.Column("priority", sa.Double(), nullable=False, server_default="0"))
            jobs.drop_column("host")
        op.execute("UPDATE jobs SET priority = 1 WHERE kind = 'training'")

A migration runs in one transaction, under a lock against other processes. It imports nothing from ``app``, because that
code changes later and the migration does not. It does not change ``apps``, which users create by hand.

There is no downgrade: restore a backup instead.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from app.database.journal import choose_journal
from app.errors import DatabaseUnavailable
from app.storage import lock_folder

FOLDER = Path(__file__).parent
# Key of the PostgreSQL advisory lock.
ADVISORY_LOCK = 1


def upgrade(engine: Engine) -> None:
    """Upgrade the schema of a database to the last revision; create missing tables.

    Raises:
        DatabaseUnavailable: A later version of this program has upgraded the database.
    """
    with lock_schema(engine) as connection:
        if not _is_current(connection):
            _run_alembic(connection)


def _is_current(connection: Connection) -> bool:
    """Return whether a database has the last revision: nearly every start of a process then needs no Alembic."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [find_last_revision()]


def find_last_revision() -> str:
    """Return the number of the last file in ``versions/``."""
    return max(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*_*.py"))


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):  # the error is not an unknown revision
            raise
        raise DatabaseUnavailable(
            f"The database was upgraded by a later version: install that version, or restore a backup ({error})."
        ) from error


def lock_schema(engine: Engine) -> AbstractContextManager[Connection]:
    """Enter a transaction in which no other process can change the schema; yield its connection."""
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
        file.touch(mode=0o600)  # it contains secrets
        choose_journal(file)
        with engine.connect() as connection:
            connection.detach()  # its foreign keys are off: it must not return to the pool
            # A batch drops the old table after copying it. With foreign keys on, that would delete the rows that refer
            # to it. SQLite ignores this pragma inside a transaction, so it comes before BEGIN.
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()
