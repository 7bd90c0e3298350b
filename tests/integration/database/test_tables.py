import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.database.tables import Database, Job


def test_tables_may_be_made_by_many_at_once(tmp_path: Path) -> None:
    databases = [Database(f"sqlite:///{tmp_path}/new.db") for _ in range(8)]
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(Database.create_tables, databases))
    for database in databases:
        database.close()


def add_job(database: Database) -> None:
    with database.session() as session:
        session.add(Job(id="x", app_id=1, kind="detection", request={}))


def add_and_fail(database: Database) -> None:
    with database.session() as session:
        session.add(Job(id="x", app_id=1, kind="detection", request={}))
        session.flush()
        raise KeyError


def test_a_session_with_an_error_changes_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new.db")
    database.create_tables()
    with pytest.raises(KeyError):
        add_and_fail(database)
    with database.session() as session:
        assert session.get(Job, "x") is None
    database.close()


def test_the_file_is_in_wal_mode(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/deep/new.db")
    database.create_tables()
    database.close()
    connection = sqlite3.connect(tmp_path / "deep" / "new.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_database_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/old.db")
    database.create_tables()
    add_job(database)
    database.close()
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.execute("DROP INDEX ix_jobs_parent_id")
    for column in ("parent_id", "host", "retries"):
        connection.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
    connection.close()
    for _ in range(2):
        database.create_tables()
    with database.session() as session:
        job = session.get_one(Job, "x")
        assert (job.parent_id, job.host, job.retries) == (None, "", 0)
    database.close()


def test_the_users_own_table_is_left_as_it_is(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "apps.db")
    connection.execute("CREATE TABLE apps (id INTEGER PRIMARY KEY, app_name CHAR(50))")
    connection.close()
    database = Database(f"sqlite:///{tmp_path}/apps.db")
    database.create_tables()
    database.close()
    connection = sqlite3.connect(tmp_path / "apps.db")
    assert [row[1] for row in connection.execute("PRAGMA table_info(apps)")] == ["id", "app_name"]
    connection.close()
