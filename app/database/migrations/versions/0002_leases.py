"""Leases: every column has one meaning.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("claim", new_column_name="lease", existing_type=sa.String(64), existing_nullable=True)
        jobs.alter_column("worker", new_column_name="leased_by", existing_type=sa.String(100), existing_nullable=True)
        jobs.alter_column("heartbeat", existing_type=sa.Double(), nullable=True)
        jobs.add_column(sa.Column("waiting_since", sa.Double(), nullable=False, server_default="0"))
    # The heartbeat of a waiting job was the time at which it was queued, or 0 if its message could not be sent.
    op.execute("UPDATE jobs SET waiting_since = CASE WHEN heartbeat > 0 THEN heartbeat ELSE updated END")
    op.execute("UPDATE jobs SET heartbeat = NULL WHERE lease IS NULL")
    op.rename_table("turns", "round_robin")
    op.rename_table("pulses", "queue_heartbeats")
    op.drop_index("deliveries_by_app", "deliveries")
    op.drop_index("deliveries_at_work", "deliveries")
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.alter_column("reserved_till", new_column_name="leased_until", existing_type=sa.Double())
        deliveries.add_column(sa.Column("attempted", sa.Double(), nullable=False, server_default="0"))
    # The old column was the end of the lease during an attempt, and the end of the last attempt otherwise. After the
    # upgrade, deliveries with an interrupted attempt are free at once.
    op.execute("UPDATE deliveries SET attempted = leased_until, leased_until = 0")
    op.create_index("deliveries_by_app", "deliveries", ["app_id", "attempted"])
    op.create_index("deliveries_leased", "deliveries", ["leased_until"])
