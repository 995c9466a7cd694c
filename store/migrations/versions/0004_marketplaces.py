"""The outbox of usage that marketplaces are told of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "marketplace_targets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("listing", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("dimension", sa.Text, nullable=False),
        sa.Column("customer", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("next_hour", sa.BigInteger, nullable=False),
        sa.Column("carry", sa.Text, nullable=False),
    )
    op.create_table(
        "marketplace_items",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
    )
    op.create_table(
        "marketplace_usage",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True),
        sa.Column("quantity", sa.Text, nullable=False),
    )
    op.create_table(
        "marketplace_records",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("usage", sa.Text, nullable=False),
        sa.Column("carried", sa.Text, nullable=False),
        sa.Column("wire", sa.Text, nullable=False),
        sa.Column("frozen_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("doubts", sa.Integer, nullable=False),
        sa.Column("doubt_since", sa.BigInteger, nullable=False),
        sa.Column("alone", sa.Boolean, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("answered_at", sa.BigInteger, nullable=False),
        sa.Column("accepted", sa.Text, nullable=False),
        sa.Column("receipt", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.UniqueConstraint("target", "hour", name="marketplace_records_once"),
        sa.Index("marketplace_records_due", "state", "due_at"),
    )
    op.create_table(
        "marketplace_positions",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "marketplace_notes",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables, with what was reported."""
    for table in ("notes", "positions", "records", "usage", "items", "targets"):
        op.drop_table(f"marketplace_{table}")
