"""Tables of version 1.0. Also completes the tables of earlier versions, which did not use Alembic.

Creates missing tables, columns and indexes. ``apps`` may already exist, because users create it by hand.
"""

from alembic import op
from sqlalchemy import (
    CHAR,
    JSON,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
)
from sqlalchemy.schema import CreateColumn

revision = "0001"
down_revision = None

metadata = MetaData()

Table(
    "apps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("app_name", CHAR(50), nullable=False),
    Column("app_key", CHAR(80), nullable=False),
    sqlite_autoincrement=True,
)
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
    Column("claim", String(64)),
    Column("worker", String(100)),
    Column("starts", Integer, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("heartbeat", Double, nullable=False),
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
    "turns",
    metadata,
    Column("app_id", Integer, primary_key=True, autoincrement=False),
    Column("queue", String(20), primary_key=True),
    Column("served", Double, nullable=False),
)
deliveries = Table(
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
    Column("reserved_till", Double, nullable=False, server_default="0"),
    Column("created", Double, nullable=False, server_default="0"),
    Index("deliveries_due", "status", "next_attempt"),
    Index("deliveries_by_app", "app_id", "reserved_till"),
    Index("deliveries_at_work", "reserved_till"),
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
    "pulses",
    metadata,
    Column("queue", String(20), primary_key=True),
    Column("at", Double, nullable=False),
)

# A delivery belongs to the client app of its job. Its endpoint is its URL without the last part, the label of the
# manifest: the inner ``rtrim`` removes the characters after the last slash, the outer one removes the slash.
FILL_NEW_COLUMNS = """
    UPDATE deliveries SET
        app_id = (SELECT jobs.app_id FROM jobs WHERE jobs.id = deliveries.job_id),
        created = (SELECT jobs.created FROM jobs WHERE jobs.id = deliveries.job_id),
        endpoint = rtrim(rtrim(url, replace(url, '/', '')), '/')
    WHERE endpoint = '' AND created = 0
"""


def upgrade() -> None:
    connection = op.get_bind()
    present = inspect(connection).get_table_names()
    for table in metadata.sorted_tables:
        if table.name not in present:
            table.create(connection)
        elif table.name != "apps":
            add_missing_columns(connection, table)
    if "deliveries" in present:
        drop_unique_constraint(connection)
        op.execute(FILL_NEW_COLUMNS)
    for table in metadata.sorted_tables:
        if table.name in present:
            for index in table.indexes:
                index.create(connection, checkfirst=True)


def add_missing_columns(connection: Connection, table: Table) -> None:
    present = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for column in table.columns:
        if column.name not in present:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            op.execute(f"ALTER TABLE {table.name} ADD COLUMN {definition}")


def drop_unique_constraint(connection: Connection) -> None:
    """Drop the unique constraint of the first version, which allowed a job one delivery to each URL."""
    for constraint in inspect(connection).get_unique_constraints("deliveries"):
        if connection.dialect.name != "sqlite":
            op.drop_constraint(constraint["name"] or "", "deliveries")
            continue
        with op.batch_alter_table("deliveries", copy_from=deliveries, recreate="always"):
            pass  # the copy lacks only the constraint, which has no name on SQLite
