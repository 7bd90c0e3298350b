"""The database: tables of client apps, of jobs and whose turn it is, of deliveries and their tries, of signs of life.

``apps`` is the table of the original manual, which users make and fill by hand; nothing may be added to it.
Times are seconds since the epoch (UTC).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    CHAR,
    JSON,
    ForeignKey,
    Index,
    String,
    Text,
    create_engine,
    event,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker

from app.database import migrations
from app.database.connections import Outage, prepare, wait_at_most

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
    """One job. This row is the truth of what has been done; the broker only carries its id.

    Attributes:
        parent_id: The job of a collection that this one is a part of.
        host: Where its manifest is; only so many jobs of one host are downloaded at a time.
        retries: How often its failed canvases were asked for again.
        claim: Who works on the present stage (message id and number of retries); None while it waits.
        worker: The process that has the claim, or had the last one.
        starts, tries: How often its pages were begun, and the stage was claimed, since it last got on.
        heartbeat: Last sign of life; of a waiting job, when it was queued.
        worked, stalled: Seconds for which the present stage has been at work, in all and since it last got on. Those
            in which nobody was at work, and a power cut was, do not count.
        done, total: Canvases of the present stage. Of ``done`` the most that it has reached: a stage that goes on after
            an interruption counts from the beginning again.
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
    claim: Mapped[str | None] = mapped_column(String(64))
    worker: Mapped[str | None] = mapped_column(String(100))
    starts: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    heartbeat: Mapped[float] = mapped_column(default=time.time)
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


class Turn(Table):
    """When a client app was last served by a queue: the one that has waited longest is served next."""

    __tablename__ = "turns"

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
        reserved_till: Until when nobody else may try it; when it is not being tried, the end of the last try.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("deliveries_due", "status", "next_attempt"),
        Index("deliveries_by_app", "app_id", "reserved_till"),
        Index("deliveries_at_work", "reserved_till"),
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
    reserved_till: Mapped[float] = mapped_column(default=0.0, server_default="0")
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


class Pulse(Table):
    """When something last came through a queue."""

    __tablename__ = "pulses"

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
