"""Many usage events in one Kafka record: the wire format of `usage.events`.

MessagePack arrays, with the origin of each event (raw topic, partition, offset), so that a dead letter or an explanation
can name the record that a collector published, whichever way it came.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from .errors import NewerSchema
from .event_checks import check_events
from .times import format_time
from .usage_event import UsageEvent

__all__ = ["PackedEvents", "as_cloudevent", "pack", "unpack"]


_Place = Annotated[int, msgspec.Meta(ge=0)]


class PackedEvents(msgspec.Struct, array_like=True, gc=False):
    """Events of one raw topic-partition, in log order; `offsets` and `indexes` (place within the raw record) run beside `events`."""

    version: int
    topic: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9._-]{1,249}$")]
    partition: _Place
    offsets: list[_Place]
    indexes: list[_Place]
    events: list[UsageEvent]


class _Head(msgspec.Struct, array_like=True, gc=False):
    version: int


VERSION = 1
_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode = msgspec.msgpack.Decoder(PackedEvents).decode


def pack(topic: str, partition: int, offsets: list[int], indexes: list[int], events: list[UsageEvent]) -> bytes:
    """One record's value."""
    return _encode(PackedEvents(VERSION, topic, partition, offsets, indexes, events))


def unpack(value: bytes, where: str = "a record of packed events") -> PackedEvents:
    """Inverse of `pack`. Raises NewerSchema for a version to come, msgspec.MsgspecError for anything else.

    Events that no decoder lets through are refused too.
    """
    version = _decode_head(value).version
    if version > VERSION:
        raise NewerSchema(where, version, VERSION)
    try:
        packed = _decode(value)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"a text is not UTF-8: {error.reason}") from None
    if version != VERSION or not len(packed.events) == len(packed.offsets) == len(packed.indexes):
        raise msgspec.ValidationError(f"packed events of version {packed.version} are not known here")
    try:
        check_events(packed.events)
    except ValueError as error:
        raise msgspec.ValidationError(str(error)) from None
    return packed


def as_cloudevent(event: UsageEvent) -> bytes:
    """The plain form of an event: what a dead letter holds when the raw record is one hop away. Decodes to the same event."""
    data: dict[str, object] = {"sku": event.sku, "quantity": f"{event.quantity:f}", "unit": event.unit}
    data |= {k: v for k in ("provider", "region", "resource") if (v := getattr(event, k))}
    data |= {k: msgspec.Raw(v.encode()) for k in ("dimensions", "tags") if (v := getattr(event, k))}
    seconds, fraction = divmod(event.time, 1_000_000_000)
    time = format_time(seconds * 1_000_000_000)
    if fraction:
        time = f"{time[:-1]}.{fraction:09d}Z"
    return msgspec.json.encode(
        {"specversion": "1.0", "type": "ratemill.usage", "source": event.source, "id": event.id, "subject": event.account, "time": time, "data": data}
    )
