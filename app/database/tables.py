"""Tables, one class each. Times are seconds since the epoch (UTC).

A change here needs a migration: see ``app/database/migrations``.
"""

import time
from typing import Any

from sqlalchemy import CHAR, JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Table(DeclarativeBase):
    """Base of the tables."""


class ClientApp(Table):
    """A client app and its API key.

    The key is a digest (``sha256:…``), or plain text in a row that was inserted by hand. The original manual tells
    users to create and fill this table by hand, so its columns must not change.
    """

    __tablename__ = "apps"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    app_name: Mapped[str] = mapped_column(CHAR(50))
    app_key: Mapped[str] = mapped_column(CHAR(80))


class Job(Table):
    """One job. The state of the job is in this row; a message on the broker only wakes a worker.

    Attributes:
        parent_id: ID of the job of which this one is a part (a collection, or a task of a front); None otherwise.
        host: Host of the manifest, for the limit of concurrent downloads from one host.
        retries: Number of retries that the client app requested.
        lease, leased_by, heartbeat, waiting_since, starts, tries, worked, stalled: See ``app/jobs/leases.py``.
        done, total: Canvases, images or epochs of the current stage; ``done`` is the largest number reached so far.
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
    """A document of a similarity job, and the files that it uses. Added when the job fetches its images.

    Attributes:
        number: Position in the job's request, from 1.
        doc_id: ID chosen by the client app.
        source: Key of the folder of cached images.
        content: Hash of the pixels of all images, the key of embeddings and scores; None until they are fetched.
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
    """Time at which a queue last served a client app. The queue serves the least recently served app next."""

    __tablename__ = "round_robin"

    app_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    queue: Mapped[str] = mapped_column(String(20), primary_key=True)
    served: Mapped[float]


class Delivery(Table):
    """One webhook to a client app: its payload, its state, and the outcome of the last attempt.

    Attributes:
        id: Value of ``webhook-id``, the same for every attempt.
        endpoint: Callback URL of the request. ``url`` may add a last part to it.
        kind: ``result``, or the type of an event.
        part: Name of the pair of documents, if the result consists of several deliveries.
        result: Number of the result: 0 for the first, 1 after the first retry of the job.
        body: Payload of an event. The payload of a result is built from the job's files.
        status, next_attempt: See ``app/delivery/kinds.py``.
        attempted: Start of the last attempt; 0 before the first.
        leased_until: End of the lease of the attempt in progress; 0 without one.
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
    """A suspended endpoint; see ``app/delivery/endpoints.py``.

    Attributes:
        id: Hash of client app and URL. The URL may be too long for an index.
        url: ``Delivery.endpoint`` of its deliveries.
        paused_until: End of the pause.
        closed: Reason for closing the endpoint; None while it is paused.
    """

    __tablename__ = "endpoints"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    app_id: Mapped[int]
    url: Mapped[str]
    paused_until: Mapped[float] = mapped_column("rests_till", default=0.0)
    closed: Mapped[str | None]


class Attempt(Table):
    """One attempt of a delivery, and its outcome.

    Attributes:
        at: Start of the attempt.
        seconds: Duration of the attempt.
    """

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), index=True)
    at: Mapped[float]
    http_status: Mapped[int | None]
    error: Mapped[str | None]
    seconds: Mapped[float]


class Secret(Table):
    """Secret that signs the deliveries to a client app. It has its own table because ``apps`` must not change."""

    __tablename__ = "secrets"

    app_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    secret: Mapped[str] = mapped_column(String(80))


class QueueHeartbeat(Table):
    """Time of the last heartbeat of a queue; see ``app/monitoring/heartbeats.py``."""

    __tablename__ = "queue_heartbeats"

    queue: Mapped[str] = mapped_column(String(20), primary_key=True)
    at: Mapped[float]
