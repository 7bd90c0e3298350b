import sqlite3
from pathlib import Path

import pytest

from app.database.sessions import Database
from app.database.tables import Job


def add_job(database: Database) -> None:
    with database.session() as session:
        session.add(Job(id="x", app_id=1, kind="detection", request={}))


def add_and_fail(database: Database) -> None:
    with database.session() as session:
        session.add(Job(id="x", app_id=1, kind="detection", request={}))
        session.flush()
        raise KeyError


def test_a_session_with_an_error_is_rolled_back(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new.db")
    database.upgrade()
    with pytest.raises(KeyError):
        add_and_fail(database)
    with database.session() as session:
        assert session.get(Job, "x") is None
    database.close()


def test_the_file_is_in_wal_mode(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/deep/new.db")
    database.upgrade()
    database.close()
    connection = sqlite3.connect(tmp_path / "deep" / "new.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
