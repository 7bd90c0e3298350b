"""A database of version 1.0 is brought up to date without loss."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from app.database.tables import Database, Delivery

VERSION_1_0 = """
    CREATE TABLE jobs (
        id VARCHAR(32) NOT NULL PRIMARY KEY, app_id INTEGER NOT NULL, kind VARCHAR(20) NOT NULL,
        state VARCHAR(20) NOT NULL, request JSON NOT NULL, manifest_ref VARCHAR, model_label VARCHAR,
        claim VARCHAR(64), starts INTEGER NOT NULL, heartbeat FLOAT NOT NULL, done INTEGER NOT NULL,
        total INTEGER NOT NULL, coverage JSON, timings JSON NOT NULL, error_code VARCHAR, error_message VARCHAR,
        created FLOAT NOT NULL, updated FLOAT NOT NULL, finished FLOAT
    );
    CREATE TABLE deliveries (
        id VARCHAR(32) NOT NULL PRIMARY KEY, job_id VARCHAR(32) NOT NULL, url VARCHAR NOT NULL,
        result INTEGER DEFAULT '0' NOT NULL, status VARCHAR(20) NOT NULL, attempts INTEGER NOT NULL,
        http_status INTEGER, error VARCHAR, next_attempt FLOAT,
        UNIQUE (job_id, url), FOREIGN KEY(job_id) REFERENCES jobs (id)
    );
    CREATE INDEX ix_deliveries_job_id ON deliveries (job_id);
    CREATE INDEX deliveries_due ON deliveries (status, next_attempt);
    INSERT INTO jobs (id, app_id, kind, state, request, starts, heartbeat, done, total, timings, created, updated)
        VALUES ('j', 7, 'detection', 'done', '{}', 0, 1, 0, 0, '{}', 1234.5, 1);
    INSERT INTO deliveries VALUES
        ('a', 'j', 'https://a.example/in/é', 2, 'pending', 3, 500, 'It answered 500.', 99.5),
        ('b', 'j', 'https://b.example/', 0, 'delivered', 1, 200, NULL, NULL);
"""


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Database]:
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.executescript(VERSION_1_0)
    connection.close()
    database = Database(f"sqlite:///{tmp_path}/old.db")
    yield database
    database.close()


def test_the_deliveries_of_an_earlier_version_are_kept(old: Database) -> None:
    for _ in range(2):
        old.create_tables()
    with old.session() as session:
        first, second = session.get_one(Delivery, "a"), session.get_one(Delivery, "b")
    assert (first.job_id, first.url, first.result, first.status) == ("j", "https://a.example/in/é", 2, "pending")
    assert (first.attempts, first.http_status, first.error) == (3, 500, "It answered 500.")
    assert (first.next_attempt, first.app_id, first.created, first.kind) == (99.5, 7, 1234.5, "result")
    assert (first.endpoint, second.endpoint) == ("https://a.example/in", "https://b.example")
    assert (second.status, second.http_status, second.next_attempt) == ("delivered", 200, None)
    assert (first.part, second.part) == ("", "")


def test_a_job_may_then_have_several_deliveries_to_an_address(old: Database) -> None:
    old.create_tables()
    with old.session() as session:
        session.add_all(Delivery(id=name, job_id="j", url="https://a.example/in/é") for name in ("c", "d"))


def test_a_migration_that_fails_in_the_middle_loses_nothing(old: Database, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.execute("INSERT INTO deliveries VALUES ('c', 'no job', 'https://c.example', 0, 'pending', 0, 0, '', 0)")
    connection.commit()
    for _ in range(2):
        with pytest.raises(IntegrityError):  # the last row cannot be copied
            old.create_tables()
        assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (3,)
    connection.execute("DELETE FROM deliveries WHERE id = 'c'")
    connection.commit()
    connection.close()
    old.create_tables()
    with old.session() as session:
        assert session.get_one(Delivery, "a").endpoint == "https://a.example/in"
