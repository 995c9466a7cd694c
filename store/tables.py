"""Tables of the control database as they are now. `migrations/versions/` leads there; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

__all__ = ["alert_deliveries", "alert_rules", "leases", "link_secrets", "metadata", "read_positions", "source_hours", "sources", "tokens"]

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

alert_rules = Table(
    "alert_rules",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("account", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("definition", Text, nullable=False),  # JSON: what is watched; amounts in it are texts
    Column("revision", Integer, nullable=False),  # of the definition: each one fires anew
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # as it is: every delivery is signed with it
    Column("former_secret", Text, nullable=True),  # signs too, until then
    Column("former_until", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger, nullable=True),  # since its receiver answered 410
    UniqueConstraint("account", "name", name="alert_rules_name"),
)

# Both that a threshold has fired, and what has to be delivered: a row says the two things at once.
alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("id", String(40), primary_key=True),  # the header webhook-id
    Column("rule_id", String(12), ForeignKey("alert_rules.id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("period", String(7), nullable=False),
    Column("threshold", Text, nullable=False),
    Column("body", Text, nullable=False),  # what is signed and sent, each time the same
    Column("fired_at", BigInteger, nullable=False),
    Column("status", String(10), nullable=False),  # pending | delivered | failed | disabled
    Column("attempts", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("attempted_at", BigInteger, nullable=True),
    Column("last_error", Text, nullable=False),  # empty: none
    UniqueConstraint("rule_id", "revision", "period", "threshold", name="alert_deliveries_once"),
    Index("alert_deliveries_due", "status", "due_at"),
)

# Who works now. `beat` grows while the holder lives; nobody's clock is compared with another's.
leases = Table(
    "leases",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("holder", Text, nullable=False),  # empty: nobody
    Column("beat", BigInteger, nullable=False),
)

sources = Table(
    "sources",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last_seen", BigInteger, nullable=False),  # an event, or a heartbeat
)

source_hours = Table(
    "source_hours",
    metadata,
    Column("source", Text, primary_key=True),
    Column("hour", BigInteger, primary_key=True),  # its first second
    Column("events", BigInteger, nullable=False),  # whose usage was in this hour
    Column("arrivals", BigInteger, nullable=False),  # that arrived in this hour, whenever their usage was
    Column("heartbeats", BigInteger, nullable=False),
    Column("last_arrival", BigInteger, nullable=False),  # of an event of this hour; 0: none
    Index("source_hours_hour", "hour"),
)

# How far the raw topics are counted, in the same transaction as the counts.
read_positions = Table(
    "read_positions",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("through", BigInteger, nullable=False),  # everything that had arrived by then is counted
)
