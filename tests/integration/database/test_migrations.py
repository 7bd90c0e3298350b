"""Migrations: the tables are created, also in the database of the original."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import IntegrityError, OperationalError

from app.auth import find_app
from app.config import ROOT
from app.database import migrations
from app.database.migrations import lock_schema
from app.database.sessions import Database
from app.database.tables import Attempt, Delivery, Document, Job
from app.errors import DatabaseUnavailable
from tests.support.schema import find_differences

# Table ``apps`` as in the original manual.
USERS_OWN = """
    CREATE TABLE apps (
       id INTEGER PRIMARY KEY AUTOINCREMENT,
       app_name CHAR(50) NOT NULL,
       app_key CHAR(80) NOT NULL
    );
    INSERT INTO apps (app_name, app_key) VALUES ('front', 'plain+key=');
"""


def make_nothing(file: Path) -> None:
    pass


def make_empty(file: Path) -> None:
    file.touch()


def make_users_own(file: Path) -> None:
    run_script(file, USERS_OWN)


def run_script(file: Path, script: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "service.db"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


@pytest.mark.parametrize("make", [make_nothing, make_empty, make_users_own])
def test_the_migrated_schema_equals_the_tables(make: Callable[[Path], None], file: Path, database: Database) -> None:
    make(file)
    for _ in range(2):
        database.upgrade()
    with database.engine.connect() as connection:
        assert find_differences(connection) == []


def test_the_last_file_is_the_last_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.find_last_revision()


def test_threads_may_upgrade_concurrently(file: Path) -> None:
    databases = [Database(f"sqlite:///{file}") for _ in range(8)]
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(Database.upgrade, databases))
    for database in databases:
        database.close()


def test_processes_may_upgrade_concurrently(file: Path, database: Database) -> None:
    make_users_own(file)
    code = f"from app.database.sessions import Database; Database('sqlite:///{file}').upgrade()"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    with database.engine.connect() as connection:
        assert find_differences(connection) == []


def test_rows_that_users_inserted_are_kept_and_their_keys_work(file: Path, database: Database) -> None:
    make_users_own(file)
    database.upgrade()
    assert find_app(database, "plain+key=").app_name == "front"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("INSERT INTO apps (app_name, app_key) VALUES ('later', 'other')")
        connection.commit()
    assert find_app(database, "other").app_name == "later"


def test_the_apps_table_of_users_is_not_changed(file: Path, database: Database) -> None:
    run_script(file, "CREATE TABLE apps (id INTEGER PRIMARY KEY, app_name CHAR(50))")
    database.upgrade()
    with closing(sqlite3.connect(file)) as connection:
        assert [row[1] for row in connection.execute("PRAGMA table_info(apps)")] == ["id", "app_name"]


def test_a_database_of_a_later_version_is_refused(file: Path, database: Database) -> None:
    database.upgrade()
    run_script(file, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseUnavailable, match=r"upgraded by a later version.*9999"):
        database.upgrade()


def test_other_errors_of_alembic_are_not_taken_for_a_later_version(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise CommandError("Multiple head revisions are present.")

    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(CommandError, match="Multiple head revisions"):
        database.upgrade()


def test_altering_a_table_keeps_the_rows_that_refer_to_it(database: Database) -> None:
    database.upgrade()
    with database.session() as session:
        session.add(Job(id="j", app_id=1, kind="detection", request={}))
        session.flush()
        session.add(Document(job_id="j", number=1, app_id=1, doc_id="d", source="s"))
        session.add(Delivery(id="d", job_id="j", url="https://a.example"))
        session.flush()
        session.add(Attempt(delivery_id="d", at=1.0, seconds=1.0))
    with lock_schema(database.engine) as connection:
        operations = Operations(MigrationContext.configure(connection))
        for table in ("jobs", "deliveries"):
            with operations.batch_alter_table(table) as batch:
                batch.add_column(sa.Column("lease", sa.Float, nullable=False, server_default="0"))
                batch.drop_column("error") if table == "deliveries" else batch.drop_column("lease")
    with database.engine.connect() as connection:
        for table in ("jobs", "documents", "deliveries", "attempts"):
            assert connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table))) == 1
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def test_foreign_keys_are_on_after_a_migration(database: Database) -> None:
    database.upgrade()
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(Delivery(id="d", job_id="no job", url="https://a.example"))


def test_a_failed_migration_changes_nothing(file: Path, database: Database) -> None:
    run_script(file, USERS_OWN + "CREATE TABLE attempts (x)")  # the last table that the migration creates
    for _ in range(2):
        with pytest.raises(OperationalError, match="table attempts already exists"):
            database.upgrade()
        with database.engine.connect() as connection:
            assert sa.inspect(connection).get_table_names() == ["apps", "attempts"]
    run_script(file, "DROP TABLE attempts")
    database.upgrade()
    assert find_app(database, "plain+key=").app_name == "front"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_user_of_the_service_reads_a_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    database = Database(f"sqlite:///{tmp_path}/x.db")
    try:
        database.upgrade()
        database.close()
    finally:
        os.umask(before)
    assert (tmp_path / "x.db").stat().st_mode & 0o777 == 0o600


def read_pragmas(database: Database) -> tuple[str, int]:
    """Return the journal mode and the level of ``synchronous``: 1 is NORMAL, 2 is FULL."""
    with database.session() as session:
        return tuple(session.scalar(sa.text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous"))  # type: ignore[return-value]


def test_a_file_has_a_write_ahead_log(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/x.db")
    database.upgrade()
    assert read_pragmas(database) == ("wal", 1)
    database.close()
    assert not list(tmp_path.glob(".x.db-probe*")), "the file of the trial was left"


def test_without_shared_memory_a_file_has_a_rollback_journal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder takes the place of the file for shared memory, which SQLite needs for WAL and then cannot open.

    https://sqlite.org/wal.html#noshm
    """
    (tmp_path / "x.db-shm").mkdir()
    for _ in range(2):  # two starts
        database = Database(f"sqlite:///{tmp_path}/x.db")
        database.upgrade()
        assert read_pragmas(database) == ("delete", 2)
        database.close()
    assert "does not support WAL" in caplog.text


def make_missing_folder(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "x.db"


def make_folder(folder: Path) -> Path:
    (folder / "x.db").mkdir()
    return folder / "x.db"


def make_damaged(folder: Path) -> Path:
    (folder / "x.db").write_bytes(b"garbage" * 10_000)
    return folder / "x.db"


@pytest.mark.parametrize("make", [make_missing_folder, make_folder, make_damaged])
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    file = make(tmp_path)
    with pytest.raises(DatabaseUnavailable) as caught:
        Database(f"sqlite:///{file}").upgrade()
    assert caught.value.message.startswith(f"The database cannot be used now: {tmp_path}/")
    assert "\n" not in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DatabaseUnavailable, match="Permission denied"):
        Database(f"sqlite:///{tmp_path}/x.db").upgrade()
