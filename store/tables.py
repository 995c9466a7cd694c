"""Tables of the control database as they are now. `migrations/versions/` leads there; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

__all__ = [
    "alert_deliveries", "alert_rules", "leases", "link_secrets", "marketplace_items", "marketplace_notes", "marketplace_positions",
    "marketplace_records", "marketplace_targets", "marketplace_usage", "metadata", "read_positions", "source_hours", "sources", "tokens",
]  # fmt: skip

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

# What marketplaces are told of (sinks/marketplace/). Exact quantities are texts; hours are their first second.
marketplace_targets = Table(
    "marketplace_targets",
    metadata,
    Column("id", Text, primary_key=True),  # marketplace, customer and dimension
    Column("listing", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("dimension", Text, nullable=False),
    Column("customer", Text, nullable=False),  # JSON: the names that the marketplace has for the customer
    Column("until", BigInteger, nullable=False),  # 0: open
    Column("next_hour", BigInteger, nullable=False),  # those before it are frozen
    Column("carry", Text, nullable=False),  # usage of the hours before it that is in no record; may be below zero
)

# The revision of each line item that is counted, and what it adds to which target.
marketplace_items = Table(
    "marketplace_items",
    metadata,
    Column("id", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("target", Text, nullable=False),
    Column("hour", BigInteger, nullable=False),
    Column("quantity", Text, nullable=False),
)

# Of hours that are not frozen.
marketplace_usage = Table(
    "marketplace_usage",
    metadata,
    Column("target", Text, primary_key=True),
    Column("hour", BigInteger, primary_key=True),
    Column("quantity", Text, nullable=False),
)

# The outbox. From `target` to `frozen_at` nothing of a row ever changes.
marketplace_records = Table(
    "marketplace_records",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("target", Text, nullable=False),
    Column("hour", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("usage", Text, nullable=False),  # of the hour itself
    Column("carried", Text, nullable=False),  # from before it
    Column("wire", Text, nullable=False),  # JSON: the customer's names, as they are sent
    Column("frozen_at", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),  # records.State
    Column("attempts", Integer, nullable=False),
    Column("doubts", Integer, nullable=False),  # attempts of which it is not known what came of them
    Column("doubt_since", BigInteger, nullable=False),  # 0: no doubts
    Column("alone", Boolean, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("answered_at", BigInteger, nullable=False),  # 0: never
    Column("accepted", Text, nullable=False),  # quantity that the marketplace has; empty: not known
    Column("receipt", Text, nullable=False),
    Column("detail", Text, nullable=False),  # what it last said
    UniqueConstraint("target", "hour", name="marketplace_records_once"),
    Index("marketplace_records_due", "state", "due_at"),
)

# How far the rated topic is counted, in the same transaction as the contributions.
marketplace_positions = Table(
    "marketplace_positions",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)

marketplace_notes = Table(
    "marketplace_notes",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
