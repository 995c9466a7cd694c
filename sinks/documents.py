"""From line items to the lines of a bulk request: the item's own JSON bytes, with limbs put in, never parsed as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ..schemas.errors import UNREADABLE
from ..schemas.line_item import RatedLineItem, encode_line_item
from .limbs import BadAmount, split
from .templates import Names

__all__ = ["Entry", "Item", "Refused", "chunks", "encode", "read_items"]

Item = bytes | RatedLineItem

_MAX_ID_BYTES = 512  # of Elasticsearch; a longer _id fails the whole request, not only its line
_MAX_VERSION = 2**63 - 1
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-[0-3][0-9]T")


@dataclass(frozen=True, slots=True)
class Refused:
    """A line item that Elasticsearch will never accept as it is: one for the dead letters.

    `status` is the HTTP status of the item, or 0 when it was not even sent. `reason` is one line.
    """

    item: Item
    line_item_id: str
    status: int
    reason: str


class _Key(msgspec.Struct, gc=False):
    """The few fields of a line item that the sink looks at; the others are passed through unread."""

    id: str = msgspec.field(name="x_LineItemId")
    revision: int = msgspec.field(name="x_Revision")
    period: str = msgspec.field(name="BillingPeriodStart")
    billed: str = msgspec.field(name="BilledCost")
    effective: str = msgspec.field(name="EffectiveCost")
    pricing: str | None = msgspec.field(name="PricingQuantity", default=None)
    consumed: str | None = msgspec.field(name="ConsumedQuantity", default=None)


class Entry(msgspec.Struct, gc=False):
    """One line item on its way: the item as handed in and what the request needs of it."""

    item: Item
    id: str
    revision: int
    month: str  # YYYY.MM of the billing period
    limbs: bytes  # JSON object, or empty

    def refused(self, status: int, reason: str) -> Refused:
        return Refused(self.item, self.id, status, reason)


_decode_key = msgspec.json.Decoder(_Key).decode
_encode_json = msgspec.json.Encoder().encode


def read_items(items: Sequence[Item]) -> tuple[list[Entry], list[Refused], int]:
    """The newest revision of each line item, those that cannot be sent at all, and how many were superseded within `items`.

    Of the same revision twice the first counts, as it does in Elasticsearch.
    """
    newest: dict[str, Entry] = {}
    refused: list[Refused] = []
    superseded = 0
    for item in items:
        entry = _read(item)
        if isinstance(entry, Refused):
            refused.append(entry)
            continue
        other = newest.get(entry.id)
        if other is None or entry.revision > other.revision:
            newest[entry.id] = entry
        superseded += other is not None
    return list(newest.values()), refused, superseded


def _read(item: Item) -> Entry | Refused:
    if isinstance(item, RatedLineItem):
        key = _Key(
            item.x_line_item_id, item.x_revision, item.billing_period_start,
            item.billed_cost, item.effective_cost, item.pricing_quantity, item.consumed_quantity,
        )  # fmt: skip
    else:
        try:
            key = _decode_key(item)
        except UNREADABLE as error:
            return Refused(item, "", 0, f"not a line item: {error}")
    if not 0 < len(key.id.encode("utf-8", "surrogatepass")) <= _MAX_ID_BYTES:
        return Refused(item, key.id, 0, f"x_LineItemId must have 1 to {_MAX_ID_BYTES} bytes")
    if not 0 <= key.revision <= _MAX_VERSION:
        return Refused(item, key.id, 0, f"x_Revision {key.revision} is not within 0 and 2^63 - 1")
    month = _MONTH.match(key.period)
    if month is None:
        return Refused(item, key.id, 0, f"BillingPeriodStart {key.period[:40]!r} is not a time like 2026-01-01T00:00:00Z")
    try:
        limbs = _limbs(key)
    except BadAmount as error:
        return Refused(item, key.id, 0, str(error))
    return Entry(item, key.id, key.revision, f"{month[1]}.{month[2]}", limbs)


def _limbs(key: _Key) -> bytes:
    parts = {}
    if limbs := split(key.billed):
        parts["billed"] = limbs
    if key.effective == key.billed:
        if limbs:
            parts["effective"] = limbs
    elif limbs := split(key.effective):
        parts["effective"] = limbs
    if key.pricing is not None and (limbs := split(key.pricing)):
        parts["pricing"] = limbs
    if key.consumed is not None:
        limbs = parts.get("pricing", {}) if key.consumed == key.pricing else split(key.consumed)
        if limbs:
            parts["consumed"] = limbs
    return _encode_json(parts) if parts else b""


def encode(entry: Entry, names: Names) -> bytes:
    """The two NDJSON lines of one line item: the action and the document."""
    document = encode_line_item(entry.item) if isinstance(entry.item, RatedLineItem) else entry.item
    if b"\n" in document or b"\r" in document:  # a line break would end the NDJSON line; within JSON it is only layout
        document = msgspec.json.format(document, indent=-1)
    if entry.limbs:
        document = b'%b,"x_Limbs":%b}' % (document.rstrip()[:-1], entry.limbs)
    return b'{"index":{"_index":"%b","_id":%b,"version":%d,"version_type":"external"}}\n%b\n' % (
        names.write_alias(entry.month).encode(), _encode_json(entry.id), entry.revision, document,
    )  # fmt: skip


def chunks(entries: Iterable[Entry], names: Names, max_items: int, max_bytes: int) -> Iterator[tuple[list[Entry], bytes]]:
    """Bulk bodies within both limits, made one at a time. An item larger than `max_bytes` travels alone."""
    chunk: list[Entry] = []
    lines: list[bytes] = []
    size = 0
    for entry in entries:
        line = encode(entry, names)
        if chunk and (len(chunk) >= max_items or size + len(line) > max_bytes):
            yield chunk, b"".join(lines)
            chunk, lines, size = [], [], 0
        chunk.append(entry)
        lines.append(line)
        size += len(line)
    if chunk:
        yield chunk, b"".join(lines)
