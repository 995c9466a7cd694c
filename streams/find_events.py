"""Finding events in the log: what an account's partition holds, as the rate lane reads it.

Read are `usage.events` and the raw topics keyed by account; events that ended in the dead letters (conflicts, too old) are
left out, because they never counted. The log reaches back as far as the retention of those topics.

    async for found in events_of(config, "acct-1", lambda event: event.sku == "k", since_ms=arrival_floor_ms(config, start_ns)):
        found.event, found.origin, found.position
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition

from ..schemas.control import Origin
from ..schemas.dead_letter import from_kafka
from ..schemas.decoders.cloudevents import decode_plain_many
from ..schemas.decoders.registry import decode_record
from ..schemas.errors import UNREADABLE, BadInput, Reason
from ..schemas.packed import unpack
from ..schemas.times import format_time
from ..schemas.usage_event import UsageEvent, identify
from .config import Config
from .restore import read_to_end, spans
from .topics import Topics, existing_topics, partition_of

__all__ = ["FoundEvent", "arrival_floor_ms", "events_of", "find_event"]

# Of these a dead letter's origin is one event, or one record, that the rate lane read and did not count.
_NEVER_COUNTED = frozenset(Reason) - {Reason.BAD_LINE_ITEM}

Progress = Callable[[int, int], Any]  # records read, records to read
Wanted = Callable[[UsageEvent], bool]


class FoundEvent(NamedTuple):
    """An event and its places in the log."""

    event: UsageEvent
    origin: Origin  # of the record that a collector published
    position: Origin  # of the record that the rate lane reads: the same, unless the event went through normalize
    arrived_ms: int  # timestamp of the latter


def arrival_floor_ms(config: Config, event_time_ns: int) -> int:
    """No event of this time (nanoseconds) can be in the log before this (milliseconds): ours and the sender's clock differ by so little."""
    return max(0, event_time_ns // 1_000_000 - config.rating.max_clock_skew_s * 1_000)


async def events_of(
    config: Config, account: str, wanted: Wanted | None = None, *, since_ms: int = 0, ends: Mapping[str, int] | None = None,
    repeated: bool = False, left_out: Callable[[FoundEvent], Any] = lambda found: None, progress: Progress = lambda done, total: None,
) -> AsyncGenerator[FoundEvent]:  # fmt: skip
    """Events of an account that counted, in log order within each topic.

    wanted: which of its events; None: all. since_ms: only records that arrived then or later (milliseconds since 1970).
    ends: topic -> first offset not to be read, such as `next_offsets` of a receipt; what is not named is read to its end.
    repeated: also what the engine took for a duplicate; else each identity comes once. left_out: told of those that ended in the
    dead letters. Raises KafkaError, Unsettled.
    """
    topics, partition = Topics.of(config.kafka), partition_of(account, config.kafka.partitions)
    there = await existing_topics(config, {*topics.rate_sources, topics.dead_letter})
    sources = [TopicPartition(topic, partition) for topic in topics.rate_sources if topic in there]
    letters = [TopicPartition(topics.dead_letter, partition)] if topics.dead_letter in there else []
    span = await spans(config.kafka, dict.fromkeys([*sources, *letters], since_ms))
    if not sources:
        return
    dead = await _dead_letters(config, {tp: span[tp].start for tp in letters})
    stops = {tp: min(span[tp].end, (ends or {}).get(tp.topic, span[tp].end)) for tp in sources}
    total = sum(max(0, stops[tp] - span[tp].start) for tp in sources)
    reader = _Reader(config, topics, account, wanted)
    seen: set[bytes] = set()
    async with aclosing(_records(config, {tp: span[tp].start for tp in sources}, stops)) as batches:
        done = 0
        async for tp, records in batches:
            for found in reader.read(tp, records):
                if _ended(found.origin, dead) or _ended(found.position, dead):
                    left_out(found)
                    continue
                identity = b"" if repeated else identify(found.event)[0]
                if repeated or identity not in seen:
                    seen.add(identity)
                    yield found
            done += len(records)
            progress(min(done, total), total)
    progress(total, total)


async def find_event(
    config: Config, account: str, source: str, id: str, *, since_ms: int = 0, progress: Progress = lambda done, total: None
) -> FoundEvent:
    """The event with this identity that counted, as it came first. Raises BadInput when the log has none, KafkaError, Unsettled."""
    first: FoundEvent | None = None

    def wanted(event: UsageEvent) -> bool:
        return event.id == id and event.source == source

    async with aclosing(events_of(config, account, wanted, since_ms=since_ms, repeated=True, progress=progress)) as found:
        async for each in found:
            if first is None or each.arrived_ms < first.arrived_ms:
                first = each
    if first is None:
        since = f" since {format_time(since_ms * 1_000_000)}" if since_ms else ""
        raise BadInput(
            f"no event of account {account!r}, source {source!r} with the id {id!r} was counted{since} as far as the log reaches back; "
            "check the three, and see `ratemill dead-letters list` for what could not be counted"
        )
    return first


class _Reader:
    """From records of the rate lane's sources to the events of one account."""

    def __init__(self, config: Config, topics: Topics, account: str, wanted: Wanted | None) -> None:
        self._topics = topics
        self._account = account
        self._bytes = account.encode()  # MessagePack holds texts as they are: a record without these bytes has no event of the account
        self._wanted = wanted
        self._limits = config.rating.limits

    def read(self, tp: TopicPartition, records: Sequence[Any]) -> Iterator[FoundEvent]:
        """Events of the account in these records that are wanted."""
        read = self._packed if tp.topic == self._topics.events else self._raw
        for event, origin, place, record in read(tp, records):
            if event.account == self._account and (self._wanted is None or self._wanted(event)):
                yield FoundEvent(event, origin, Origin(tp.topic, tp.partition, record.offset, place), record.timestamp)

    def _packed(self, tp: TopicPartition, records: Sequence[Any]) -> Iterator[tuple[UsageEvent, Origin, int, Any]]:
        for record in records:
            if self._bytes not in (record.value or b""):
                continue
            try:
                packed = unpack(record.value)
            except UNREADABLE:
                continue  # it is a dead letter as a whole
            for place, event in enumerate(packed.events):
                if event.account == self._account:
                    yield event, Origin(packed.topic, packed.partition, packed.offsets[place], packed.indexes[place]), place, record

    def _raw(self, tp: TopicPartition, records: Sequence[Any]) -> Iterator[tuple[UsageEvent, Origin, int, Any]]:
        provider = self._topics.raw[tp.topic]
        plain: Sequence[UsageEvent | None] = [None] * len(records)
        if provider == "cloudevents":
            plain = decode_plain_many([None if record.headers else record.value for record in records], self._limits)
        for event, record in zip(plain, records, strict=True):
            entries = [event] if event is not None else decode_record(provider, record.value, record.headers, self._limits)
            for place, entry in enumerate(entries):
                if isinstance(entry, UsageEvent):
                    yield entry, Origin(tp.topic, tp.partition, record.offset, place), place, record


def _ended(place: Origin, dead: set[Origin]) -> bool:
    """Is the event a dead letter, by itself or with its whole record?"""
    return bool(dead) and (place in dead or msgspec.structs.replace(place, index=-1) in dead)


async def _dead_letters(config: Config, starts: Mapping[TopicPartition, int]) -> set[Origin]:
    """Origins of the dead letters of a rate lane: it writes them to the partition with its own number."""
    found: set[Origin] = set()
    if starts:
        async for _, records in read_to_end(config.kafka, starts):
            for record in records:
                try:
                    letter = from_kafka(record.key, None, [pair for pair in record.headers if pair[0] != "ratemill-null"])
                except BadInput:
                    continue  # a marker of a replay
                if letter.reason in _NEVER_COUNTED:
                    found.add(Origin(letter.topic, letter.partition, letter.offset, letter.index))
    return found


async def _records(
    config: Config, starts: Mapping[TopicPartition, int], stops: Mapping[TopicPartition, int]
) -> AsyncGenerator[tuple[TopicPartition, list[Any]]]:
    """Committed records from `starts` up to `stops`, batch by batch."""
    open_ = {tp for tp, start in starts.items() if start < stops[tp]}
    if not open_:
        return
    batches: AsyncIterator[tuple[TopicPartition, list[Any]]] = read_to_end(config.kafka, {tp: starts[tp] for tp in open_})
    async with aclosing(batches):  # type: ignore[type-var]
        async for tp, records in batches:
            yield tp, [record for record in records if record.offset < stops[tp]]
            if records[-1].offset + 1 >= stops[tp]:
                open_.discard(tp)
                if not open_:
                    return
