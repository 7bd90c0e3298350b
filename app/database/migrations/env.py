"""Entry point of Alembic: uses the connection of ``upgrade``, or on the command line the database of the settings."""

import logging
from typing import Any

from alembic import context
from sqlalchemy import Connection

from app.database.migrations import lock_schema
from app.database.sessions import Database
from app.database.tables import ClientApp, Table

log = logging.getLogger("app.database")


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        render_as_batch=True,
        include_object=lambda _, name, kind, *rest: (kind, name) != ("table", ClientApp.__tablename__),
        on_version_apply=report,
    )
    with context.begin_transaction():
        context.run_migrations()


def report(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
    log.info("The database was upgraded to revision %s.", step.up_revision_id)


connection: Connection | None = context.config.attributes.get("connection")
if connection is not None:
    run(connection)
else:
    from app.config import Settings

    with lock_schema(Database(Settings.load().sqlalchemy_url).engine) as connection:
        run(connection)
