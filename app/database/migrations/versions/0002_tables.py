"""Tables of version 1.0: the first revision. Its number is 0002, which databases of the development already have.

``apps`` may already exist, because the original manual tells users to create it by hand.
"""

from alembic import op
from sqlalchemy import CHAR, JSON, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text

revision = "0002"
down_revision = None

apps = Table(
    "apps",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("app_name", CHAR(50), nullable=False),
    Column("app_key", CHAR(80), nullable=False),
    sqlite_autoincrement=True,
)

metadata = MetaData()

Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("app_id", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("request", JSON, nullable=False),
    Column("parent_id", String(32), index=True),
    Column("host", String(300), nullable=False, server_default=""),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("manifest_ref", String),
    Column("model_label", String),
    Column("lease", String(64)),
    Column("leased_by", String(100)),
    Column("heartbeat", Double),
    Column("waiting_since", Double, nullable=False, server_default="0"),
    Column("starts", Integer, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("worked", Double, nullable=False, server_default="0"),
    Column("stalled", Double, nullable=False, server_default="0"),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("coverage", JSON),
    Column("timings", JSON, nullable=False),
    Column("error_code", String),
    Column("error_message", String),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("finished", Double),
    Index("jobs_by_app", "app_id", "created"),
    Index("jobs_by_state", "state"),
)
Table(
    "documents",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("app_id", Integer, nullable=False),
    Column("doc_id", String, nullable=False),
    Column("source", String, nullable=False, index=True),
    Column("content", String(40), index=True),
    Index("documents_by_app", "app_id", "doc_id"),
)
Table(
    "round_robin",
    metadata,
    Column("app_id", Integer, primary_key=True, autoincrement=False),
    Column("queue", String(20), primary_key=True),
    Column("served", Double, nullable=False),
)
Table(
    "deliveries",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("app_id", Integer, nullable=False, server_default="0"),
    Column("url", String, nullable=False),
    Column("endpoint", String, nullable=False, server_default=""),
    Column("kind", String(20), nullable=False, server_default="result"),
    Column("part", String, nullable=False, server_default=""),
    Column("result", Integer, nullable=False, server_default="0"),
    Column("body", Text),
    Column("status", String(20), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("http_status", Integer),
    Column("error", String),
    Column("next_attempt", Double),
    Column("attempted", Double, nullable=False, server_default="0"),
    Column("leased_until", Double, nullable=False, server_default="0"),
    Column("created", Double, nullable=False, server_default="0"),
    Index("deliveries_due", "status", "next_attempt"),
    Index("deliveries_by_app", "app_id", "attempted"),
    Index("deliveries_leased", "leased_until"),
)
Table(
    "endpoints",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("app_id", Integer, nullable=False),
    Column("url", String, nullable=False),
    Column("rests_till", Double, nullable=False),
    Column("closed", String),
)
Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("delivery_id", ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("http_status", Integer),
    Column("error", String),
    Column("seconds", Double, nullable=False),
)
Table(
    "secrets",
    metadata,
    Column("app_id", Integer, primary_key=True, autoincrement=False),
    Column("secret", String(80), nullable=False),
)
Table(
    "queue_heartbeats",
    metadata,
    Column("queue", String(20), primary_key=True),
    Column("at", Double, nullable=False),
)


def upgrade() -> None:
    apps.create(op.get_bind(), checkfirst=True)
    metadata.create_all(op.get_bind(), checkfirst=False)
