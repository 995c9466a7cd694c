"""Tables of the control database as they are now. `migrations/versions/` leads there; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text

__all__ = ["link_secrets", "metadata", "tokens"]

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

link_secrets = Table(
    "link_secrets",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("secret", String(44), nullable=False),  # 256 random bits in base64: whoever signs needs them as they are
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger, nullable=True),  # null: new links may be signed with it
)
