"""Compares the schema of a database with ``app/database/tables.py``."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Float

from app.database.tables import Table

# SQLite calls the primary key of the original manual nullable, as it is not declared otherwise.
KEY_MADE_BY_HAND = ("modify_nullable", None, "apps", "id")


def find_differences(connection: Connection) -> list[Any]:
    options = {"compare_type": _differ_in_type, "compare_server_default": _differ_in_default}
    found = compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata)
    return [each for each in found if each[0][:4] != KEY_MADE_BY_HAND]


def _differ_in_type(context: Any, column: Any, table_column: Any, found: Any, wanted: Any) -> bool | None:
    """Accept FLOAT, of the first versions, for DOUBLE: both have 8 bytes. Leave the rest to Alembic."""
    return False if isinstance(found, Float) and isinstance(wanted, Float) else None


def _differ_in_default(
    context: Any, column: Any, table_column: Any, found: str | None, default: Any, wanted: str | None
) -> bool | None:
    """Accept an empty string, which Alembic does not recognise on SQLite. Leave the rest to Alembic."""
    return False if (found, wanted) == ("('')", "") else None
