"""Alert rules and their deliveries, the lease of the watcher, and when sources were heard of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    _alerts()
    op.create_table(
        "leases",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sources",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "source_hours",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("arrivals", sa.BigInteger, nullable=False),
        sa.Column("heartbeats", sa.BigInteger, nullable=False),
        sa.Column("last_arrival", sa.BigInteger, nullable=False),
    )
    op.create_index("source_hours_hour", "source_hours", ["hour"])
    op.create_table(
        "read_positions",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column("through", sa.BigInteger, nullable=False),
    )


def _alerts() -> None:
    op.create_table(
        "alert_rules",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("former_secret", sa.Text, nullable=True),
        sa.Column("former_until", sa.BigInteger, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger, nullable=True),
        sa.UniqueConstraint("account", "name", name="alert_rules_name"),
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("rule_id", sa.String(12), sa.ForeignKey("alert_rules.id", ondelete="CASCADE"), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("period", sa.String(7), nullable=False),
        sa.Column("threshold", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("fired_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("attempted_at", sa.BigInteger, nullable=True),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.UniqueConstraint("rule_id", "revision", "period", "threshold", name="alert_deliveries_once"),
    )
    op.create_index("alert_deliveries_due", "alert_deliveries", ["status", "due_at"])


def downgrade() -> None:
    """Drop the tables, with all that is in them."""
    for name in ("read_positions", "source_hours", "sources", "leases", "alert_deliveries", "alert_rules"):
        op.drop_table(name)
