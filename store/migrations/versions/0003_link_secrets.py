"""Secrets that sign links."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of secrets."""
    op.create_table(
        "link_secrets",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("secret", sa.String(44), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("retired_at", sa.BigInteger, nullable=True),
    )


def downgrade() -> None:
    """Drop the table: no link is worth anything after it."""
    op.drop_table("link_secrets")
