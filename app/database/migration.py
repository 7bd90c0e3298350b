"""Tables of an earlier version brought up to date, without loss: new columns, and what these alone do not do."""

from sqlalchemy import Connection, Table, inspect
from sqlalchemy.schema import CreateColumn, CreateTable

# The client app of a delivery is its job's. Its endpoint is its URL without the last part, which was the manifest's
# label: ``rtrim`` takes away all that is no slash, then the slash.
_COMPLETE = """
    UPDATE deliveries SET
        app_id = (SELECT jobs.app_id FROM jobs WHERE jobs.id = deliveries.job_id),
        created = (SELECT jobs.created FROM jobs WHERE jobs.id = deliveries.job_id),
        endpoint = rtrim(rtrim(url, replace(url, '/', '')), '/')
    WHERE endpoint = '' AND created = 0
"""


def add_missing_columns(connection: Connection, table: Table) -> None:
    """Bring a table of an earlier version up to date."""
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for column in table.columns:
        if column.name not in there:
            # Several processes may start at once. On SQLite each is alone here, and the words are not known.
            unless_there = "" if connection.dialect.name == "sqlite" else "IF NOT EXISTS "
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {unless_there}{definition}")


def migrate_deliveries(connection: Connection, table: Table) -> None:
    """Let a job have several deliveries to an address, and fill the columns that are new.

    Args:
        connection: In a transaction; on SQLite, alone at the file.
        table: As it is declared now; its new columns are there already.
    """
    for constraint in inspect(connection).get_unique_constraints(table.name):
        if connection.dialect.name == "sqlite":
            _rebuild(connection, table)
        else:
            connection.exec_driver_sql(f'ALTER TABLE deliveries DROP CONSTRAINT IF EXISTS "{constraint["name"]}"')
    connection.exec_driver_sql(_COMPLETE)


def _rebuild(connection: Connection, table: Table) -> None:
    """SQLite cannot drop a constraint: copy the rows to a table without it, all or nothing."""
    columns = ", ".join(column.name for column in table.columns)
    connection.exec_driver_sql("SAVEPOINT rebuild")  # statements like these begin no transaction by themselves
    connection.exec_driver_sql("ALTER TABLE deliveries RENAME TO deliveries_before")
    connection.execute(CreateTable(table))
    connection.exec_driver_sql(f"INSERT INTO deliveries ({columns}) SELECT {columns} FROM deliveries_before")  # noqa: S608
    connection.exec_driver_sql("DROP TABLE deliveries_before")
    connection.exec_driver_sql("RELEASE rebuild")
