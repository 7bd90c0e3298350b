"""The database: an SQLite file, or PostgreSQL.

    tables       the tables, one class each; what a column means
    sessions     ``Database``: a session is one transaction; which errors are an outage
    connections  time-outs, for SQLite and PostgreSQL

    migrations/  changes of the tables, applied by Alembic at start

In: the URL of the database, from the settings. Out: rows (objects of ``tables``), and one error,
``DatabaseUnavailable``, which becomes a 503.
"""
