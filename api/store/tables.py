"""Tables of the control database as they are now. `migrations/versions/` leads there; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text

__all__ = ["metadata", "tokens"]

metadata = MetaData()

# All times are whole seconds since 1970-01-01T00:00:00Z.
tokens = Table(
    "tokens",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", String(64), nullable=False),  # SHA-256 in hexadecimal; the secret itself is nowhere
    Column("account", Text, nullable=True),  # null: an operator's, for all accounts
    Column("scopes", Text, nullable=False),  # separated by blanks
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger, nullable=True),
)
