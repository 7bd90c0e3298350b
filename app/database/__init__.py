"""The database: an SQLite file, or PostgreSQL.

    tables       the tables and their columns, one class per table
    sessions     class ``Database``: transactions, and the translation of outages
    connections  connections and their time limits, for SQLite and PostgreSQL
    journal      the journal of an SQLite file: WAL, or a rollback journal

    migrations/  changes of the schema, applied by Alembic at start

In: the URL of the database, from the settings. Out: rows (objects of ``tables``). An outage raises
``DatabaseUnavailable``, which becomes a 503.
"""
