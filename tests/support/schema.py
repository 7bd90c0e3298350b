"""Compares the schema of a database with ``app/database/tables.py``."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Float

from app.database.tables import Table

# SQLite reports the primary key of the original manual as nullable, because it is not declared NOT NULL.
KEY_MADE_BY_HAND = ("modify_nullable", None, "apps", "id")


def find_differences(connection: Connection) -> list[Any]:
    options = {"compare_type": _differ_in_type, "compare_server_default": _differ_in_default}
    found = compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata)
    return [each for each in found if each[0][:4] != KEY_MADE_BY_HAND]


def _differ_in_type(context: Any, column: Any, table_column: Any, found: Any, wanted: Any) -> bool | None:
    """Accept DOUBLE for the FLOAT of the tables, because both have 8 bytes. Alembic decides other cases."""
    return False if isinstance(found, Float) and isinstance(wanted, Float) else None


def _differ_in_default(
    context: Any, column: Any, table_column: Any, found: str | None, default: Any, wanted: str | None
) -> bool | None:
    """Accept an empty string, which Alembic does not recognise on SQLite. Alembic decides other cases."""
    return False if (found, wanted) == ("('')", "") else None
