"""The usage event: one reading of one meter for one account, after decoding, before rating.

Identity is the tuple (account, source, id), never a joined string: ("a-b", "c") and ("a", "b-c") differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import xxhash

from ..native import load

__all__ = ["UsageEvent", "canonical_map", "hot", "identify", "identify_many"]


class UsageEvent(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One accepted reading.

    time: nanoseconds since 1970-01-01T00:00:00Z, as an int (sub-nanosecond digits are refused by the decoders).
    quantity: exact Decimal in `unit`, finite; may be negative (a reversal) or zero.
    dimensions, tags: canonical JSON objects as text (`canonical_map`), "" when empty; they are compared and stored as text.
    backfill: name of a declared backfill, "" for live usage; only a backfill may be older than max_event_age.
    """

    account: str
    source: str
    id: str
    sku: str
    time: int
    quantity: Decimal
    unit: str
    provider: str = ""
    region: str = ""
    resource: str = ""
    dimensions: str = ""
    tags: str = ""
    backfill: str = ""


_sorted_json = msgspec.json.Encoder(order="sorted")


def canonical_map(pairs: dict[str, str]) -> str:
    """The one text for a map of strings: JSON with sorted keys and no blanks; "" for the empty map."""
    return _sorted_json.encode(pairs).decode() if pairs else ""


def identify(event: UsageEvent) -> tuple[bytes, bytes]:
    """(identity hash, fingerprint) of an event.

    The hash is 16 bytes that stand for (account, source, id); NUL separates, decoders refuse control characters in all three.
    The fingerprint is 8 bytes over everything that decides what the event is worth, identity included: two deliveries of one
    event agree in it whatever their wire format or number formatting (1.0 is 1). Because identity is part of it, two identities
    that ever share a hash differ here and surface as a conflict in the dead letters: a collision cannot drop usage silently.
    """
    e = event
    identity = f"{e.account}\0{e.source}\0{e.id}"
    quantity = str(e.quantity)
    if "E" in quantity:
        quantity = f"{e.quantity:f}"
    if quantity[-1] == "0" and "." in quantity:
        quantity = quantity.rstrip("0").rstrip(".")  # on the text, not by normalize(): that rounds to the caller's context
    worth = f"{identity}\0{e.sku}\0{e.time}\0{quantity}\0{e.unit}\0{e.region}\0{e.resource}\0{e.dimensions}"
    return _hash(identity.encode()), _print(worth.encode())


_hash = xxhash.xxh3_128_digest
_print = xxhash.xxh3_64_digest


def _identify_many(events: Sequence[UsageEvent]) -> tuple[list[bytes], list[bytes]]:
    """(identity hashes, fingerprints) of events, one of each for each."""
    hashes: list[bytes] = []
    prints: list[bytes] = []
    for event in events:
        identity, print_ = identify(event)
        hashes.append(identity)
        prints.append(print_)
    return hashes, prints


hot = load(UsageEvent, identify)  # compiled loops over events, or None: whoever has a loop that is in there asks for it here
identify_many = _identify_many if hot is None else hot.identify_many
