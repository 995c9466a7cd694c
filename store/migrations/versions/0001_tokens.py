"""API tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"  # numbers only: the message for a newer schema names them
down_revision = None


def upgrade() -> None:
    """Make the table of tokens. It is spelled out here: `tables.py` goes on, this does not."""
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("account", sa.Text, nullable=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
    )


def downgrade() -> None:
    """Drop the table, with every token."""
    op.drop_table("tokens")
