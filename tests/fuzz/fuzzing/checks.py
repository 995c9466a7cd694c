"""What must hold of whatever a decoder returns, and of a record on its way through a lane."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition
from ratemill.schemas.control import Amend, Origin, decode_control, encode_control
from ratemill.schemas.dead_letter import DeadLetter, from_kafka, held_once, to_kafka
from ratemill.schemas.decoders import decode_plain
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.event_checks import check_events
from ratemill.schemas.limits import DEFAULT_LIMITS, Limits
from ratemill.schemas.packed import as_cloudevent, pack, unpack
from ratemill.schemas.usage_event import UsageEvent, identify
from ratemill.streams.config import Config, KafkaConfig, RatingConfig, RawTopic
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.state import PartitionState, Settings
from ratemill.streams.core.store import Effects, MemoryStore
from ratemill.streams.lanes import decoding
from ratemill.streams.lanes.base import Batch, Context
from ratemill.streams.metrics import Metrics
from ratemill.streams.topics import Topics

__all__ = ["Broken", "Record", "check_entries", "conserve", "context_of", "expected_entries", "rate"]

Headers = Sequence[tuple[str, bytes | None]]
NOW = 1_784_210_400_000_000_000  # 2026-07-16T14:00:00Z: what most examples say is in time
_LIMITS = DEFAULT_LIMITS


class Broken(AssertionError):
    """A property does not hold."""


class Record(NamedTuple):
    """A record as a consumer gives it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def want(condition: object, said: str) -> None:
    if not condition:
        raise Broken(said)


def check_entries(entries: list[UsageEvent | Rejection]) -> None:
    """Every entry is an event within all limits that survives its wire forms, or a rejection that tells why in one line."""
    want(entries, "a record gave nothing: neither an event nor a rejection")
    events = []
    for entry in entries:
        if isinstance(entry, Rejection):
            want(entry.detail and "\n" not in entry.detail and isinstance(entry.reason, Reason), f"a rejection without a line of its own: {entry!r}")
            entry.detail.encode()
            continue
        want(type(entry) is UsageEvent, f"{entry!r} is no usage event")
        events.append(entry)
    # Of thousands of events from one record the first and the last ones say enough.
    for event in events if len(events) <= 4 else events[:2] + events[-2:]:
        _check_event(event)
    if events:
        _check_amendment(events[0])
    some = [msgspec.structs.replace(event, time=NOW) for event in events[:50]]
    if some:
        want(unpack(pack("t", 0, [0] * len(some), list(range(len(some))), some)).events == some, "packed events come back as others")


def _check_event(event: UsageEvent) -> None:
    want(-(1 << 63) <= event.time < 1 << 63, "a time beyond 64 bits was accepted")
    try:
        check_events([msgspec.structs.replace(event, time=NOW)])  # whether its time is accepted is decided behind the decoders
    except ValueError as error:
        raise Broken(f"accepted: {error}: {event!r:.300}") from None
    want(len(event.dimensions) <= _LIMITS.max_map_chars and len(event.tags) <= _LIMITS.max_map_chars, "a map beyond its limit was accepted")
    plain = decode_plain(as_cloudevent(event))
    want(plain == msgspec.structs.replace(event, backfill=""), f"the plain form reads as another event: {event!r:.300}")
    want(identify(plain) == identify(event), "the plain form has another identity")


def _check_amendment(event: UsageEvent) -> None:
    amend = Amend(id="0" * 32, author="a", reason="r", at_ns=0, original=event, origin=Origin("t", 0, 0, 0), replacement=None)
    want(decode_control(encode_control(amend)) == amend, "a request about the event comes back as another one")


SINGLE = frozenset({"cloudevents", "aws-eventbridge", "aws-cloudwatch", "aws-cur", "azure-event-grid", "azure-cost", "gcp-billing", "usage-record"})


def expected_entries(format: str, value: bytes | None, headers: Headers) -> int | None:
    """How many events a record holds that is read as this format, counted by another reader; None where that is no matter of counting."""
    if format not in SINGLE or not value or any(name.startswith("ce_") or name.lower() == "content-type" for name, _ in headers):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return len(found) or 1 if isinstance(found, list) else 1


def context_of(provider: str, keyed: bool, limits: Limits = _LIMITS) -> Context:
    """What a lane would have, without Kafka."""
    raw = RawTopic(name="raw", provider=provider, keyed_by="account" if keyed else "")  # type: ignore[arg-type]
    config = Config(kafka=KafkaConfig(raw_topics=(raw,), partitions=2), rating=RatingConfig())

    async def seek(_: TopicPartition, __: int) -> None:
        return None

    return Context(config, Topics.of(config.kafka), {}, limits, Metrics(), seek, lambda: NOW)


def conserve(context: Context, record: Record, entries: int, own_partition: int | None, rates: Rates) -> None:
    """One record through a lane: each of its events is counted, a duplicate or a dead letter; never two of them, never none."""
    tp = TopicPartition("raw", 0)
    # Twice: what was counted must then be a duplicate.
    records = [record, record._replace(offset=record.offset + 1)]
    batch = Batch(1, 1, tp, records)  # type: ignore[arg-type]
    decoded = decoding.decode_batch(context, batch, own_partition)
    accepted = [decoded.origin(at) for at in range(len(decoded.events))]
    dead = [(letter.offset - record.offset, letter.index) for letter in decoded.dead]
    want(len(set(accepted)) == len(accepted) and len(set(dead)) == len(dead), "an event is accepted twice, or has two dead letters")
    want(not set(accepted) & set(dead), "an event is both accepted and a dead letter")
    want(len(accepted) + len(dead) == 2 * entries, f"{entries} events of a record became {len(accepted) + len(dead)}, read twice")
    first = [event for event, origin in zip(decoded.events, accepted, strict=True) if origin[0] == 0]
    state = PartitionState(MemoryStore(), rates, Settings())
    added = state.add(first)
    refused = [*added.conflicts, *(at for at, _ in added.rejected)]
    want(added.counted + added.duplicates + len(refused) == len(first) and len(set(refused)) == len(refused), "received is not what became of it")
    again = state.add([event for event, origin in zip(decoded.events, accepted, strict=True) if origin[0] == 1])
    want(again.counted == 0, "an event counted again when its record came again")
    _check_letters(record, decoded, refused[:20])
    rate(state)


def _check_letters(record: Record, decoded: decoding.Decoded, refused: list[int]) -> None:
    late = [decoded.letter(at, Rejection(Reason.CONFLICT, "another payload")) for at in refused]
    mine = held_once([letter for letter in decoded.dead if letter.offset == record.offset])
    size = len(record.value or b"")
    kept = sum(len(letter.value or b"") for letter in mine)
    want(kept <= size, f"{len(mine)} dead letters of a record of {size} bytes hold {kept} bytes of it")
    for letter in [*mine[:20], *late]:
        check_letter(letter)
        want(letter.held_by is not None or letter.value is record.value or letter.cut, "a dead letter does not keep its record")


def check_letter(letter: DeadLetter) -> None:
    """A dead letter comes back from its record as it was."""
    want(from_kafka(*to_kafka(letter)) == letter, "a dead letter comes back as another one")


def rate(state: PartitionState) -> None:
    """Price what was added, read every line item, and take the state over: nothing that was accepted may stop a partition."""
    effects = state.seal(NOW // 1_000_000_000, 1)
    items = [json.loads(value) for _, value in effects.line_items]
    want(not any(_inexact(item) for item in items), "a line item holds a number that is no text")
    state.store.apply(Effects([], effects.puts, effects.ids, effects.bucket, []))
    state.committed()
    state.seal(NOW // 1_000_000_000, 2)


def _inexact(item: dict[str, Any]) -> bool:
    return any(isinstance(value, float) for value in item.values())
