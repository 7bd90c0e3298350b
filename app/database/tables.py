"""The database: tables of client apps, jobs, deliveries and their attempts, and heartbeats.

``apps`` is the table of the original manual, which users make and fill by hand; nothing may be added to it.
Times are seconds since the epoch (UTC).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    CHAR,
    JSON,
    ForeignKey,
    Index,
    String,
    Text,
    create_engine,
)
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker
from sqlalchemy.schema import CreateIndex, CreateTable

from app.database.connections import Outage, prepare, wait_at_most
from app.database.migration import add_missing_columns, migrate_deliveries
from app.storage import alone_in

# To bring large tables up to date takes a while.
MIGRATION_SECONDS = 3600.0


class Table(DeclarativeBase):
    """Base of the tables."""


class App(Table):
    """A client app and its API key: a digest (``sha256:…``), or plain where the row was inserted by hand."""

    __tablename__ = "apps"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    app_name: Mapped[str] = mapped_column(CHAR(50))
    app_key: Mapped[str] = mapped_column(CHAR(80))


class Job(Table):
    """One job. This row is the truth; a message on the broker only wakes a worker.

    Attributes:
        parent_id: Job of the collection that this job is a part of.
        host: Host of the manifest; only so many jobs download from one host at a time.
        retries: Times that the job was run again.
        lease, leased_by, heartbeat, waiting_since, starts, tries, worked, stalled: See ``app/jobs/leases.py``.
        done, total: Canvases, images or epochs of the present stage; ``done`` is the most that was ever reached.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_app", "app_id", "created"), Index("jobs_by_state", "state"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    app_id: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20), default="queued")
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    parent_id: Mapped[str | None] = mapped_column(String(32), index=True)
    host: Mapped[str] = mapped_column(String(300), default="", server_default="")
    retries: Mapped[int] = mapped_column(default=0, server_default="0")
    manifest_ref: Mapped[str | None]
    model_label: Mapped[str | None]
    lease: Mapped[str | None] = mapped_column(String(64))
    leased_by: Mapped[str | None] = mapped_column(String(100))
    heartbeat: Mapped[float | None]
    waiting_since: Mapped[float] = mapped_column(default=time.time, server_default="0")
    starts: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    worked: Mapped[float] = mapped_column(default=0.0, server_default="0")
    stalled: Mapped[float] = mapped_column(default=0.0, server_default="0")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    coverage: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    timings: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    created: Mapped[float] = mapped_column(default=time.time)
    updated: Mapped[float] = mapped_column(default=time.time)
    finished: Mapped[float | None]


class Document(Table):
    """A document of a similarity job, from the moment at which its images are fetched: what of the disk it uses.

    Attributes:
        number: 1-based place in the job's request.
        doc_id: By which its client app knows it.
        source: Names the folder of its cached images.
        content: Stands for the pixels of all of them, under which embeddings and scores are kept; None till then.
    """

    __tablename__ = "documents"
    __table_args__ = (Index("documents_by_app", "app_id", "doc_id"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    app_id: Mapped[int]
    doc_id: Mapped[str]
    source: Mapped[str] = mapped_column(index=True)
    content: Mapped[str | None] = mapped_column(String(40), index=True)


class RoundRobin(Table):
    """When a queue last served a client app: the app that was served least recently is next."""

    __tablename__ = "round_robin"

    app_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    queue: Mapped[str] = mapped_column(String(20), primary_key=True)
    served: Mapped[float]


class Delivery(Table):
    """One message on its way to a client app, with the number of tries and what came of the last.

    Attributes:
        id: Goes with every try, as ``webhook-id``.
        endpoint: The address of the client app under which the URL is: the one that the request named.
        kind: What it carries: ``result``, or the type of an event.
        part: Of a result that goes out in parts, which this is: the name of a pair of documents.
        result: Which result of the job it is about: the first is 0, that of its first retry 1.
        body: Of an event, as it was when it happened; a result is read from the job's files.
        next_attempt: None when it is over, or held back because a newer result is on its way.
        attempted: Start of the last attempt; 0 before the first.
        leased_until: Until when one dispatcher has it; 0 when none has.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("deliveries_due", "status", "next_attempt"),
        Index("deliveries_by_app", "app_id", "attempted"),
        Index("deliveries_leased", "leased_until"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    app_id: Mapped[int] = mapped_column(default=0, server_default="0")
    url: Mapped[str]
    endpoint: Mapped[str] = mapped_column(default="", server_default="")
    kind: Mapped[str] = mapped_column(String(20), default="result", server_default="result")
    part: Mapped[str] = mapped_column(default="", server_default="")
    result: Mapped[int] = mapped_column(default=0, server_default="0")
    body: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20), default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    http_status: Mapped[int | None]
    error: Mapped[str | None]
    next_attempt: Mapped[float | None]
    attempted: Mapped[float] = mapped_column(default=0.0, server_default="0")
    leased_until: Mapped[float] = mapped_column(default=0.0, server_default="0")
    created: Mapped[float] = mapped_column(default=time.time, server_default="0")
    history: Mapped[list["Attempt"]] = relationship(order_by="Attempt.at", lazy="raise")


class Endpoint(Table):
    """An address of a client app that wants to be left alone; of one that answers there is no row.

    Attributes:
        id: Stands for the client app and the address, which may be too long for an index.
        url: The address, under which deliveries have theirs.
        rests_till: Nothing is sent there before.
        closed: Why nothing is sent there any more; None while something is.
    """

    __tablename__ = "endpoints"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    app_id: Mapped[int]
    url: Mapped[str]
    rests_till: Mapped[float] = mapped_column(default=0.0)
    closed: Mapped[str | None]


class Attempt(Table):
    """One try of a delivery, and what came of it.

    Attributes:
        seconds: That it took.
    """

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), index=True)
    at: Mapped[float]
    http_status: Mapped[int | None]
    error: Mapped[str | None]
    seconds: Mapped[float]


class Secret(Table):
    """The secret by which a client app knows what is from here; apart, for nothing may be added to ``apps``."""

    __tablename__ = "secrets"

    app_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    secret: Mapped[str] = mapped_column(String(80))


class QueueHeartbeat(Table):
    """When a worker of a queue last showed that it works."""

    __tablename__ = "queue_heartbeats"

    queue: Mapped[str] = mapped_column(String(20), primary_key=True)
    at: Mapped[float]


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

    def create_tables(self) -> None:
        """Make the file and the tables that are missing; what is there stays as it is. Several processes may do so.

        Raises:
            DatabaseUnavailable: The database does not answer, or the file is none.
        """
        file = make_url(self.engine.url).database
        if self.engine.dialect.name != "sqlite" or not file:
            with wait_at_most(MIGRATION_SECONDS), self._outage.watch():
                self._create_tables()
            return
        folder = Path(file).parent
        folder.mkdir(parents=True, exist_ok=True)
        with self._outage.watch(), alone_in(folder):
            Path(file).touch()
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                # The file keeps the mode. The first switch needs the file to itself and does not wait for it.
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            self._create_tables()

    def _create_tables(self) -> None:
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # «if not exists» is no lock there
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
            for table in Table.metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                if table.name != App.__tablename__:  # the users' own, which is left as it is
                    add_missing_columns(connection, table)
                if table.name == Delivery.__tablename__:
                    migrate_deliveries(connection, table)
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back when an error passes through.

        Raises:
            DatabaseUnavailable: The database cannot be used now.
        """
        with self._outage.watch(), self._sessions.begin() as session:
            yield session

    def close(self) -> None:
        """Close the connections; the next session opens new ones."""
        self.engine.dispose()

    def leave_to_parent(self) -> None:
        """Use none of the connections that a forked process has from its parent, and leave them open for it."""
        self.engine.dispose(close=False)
