"""The dead-letter topic: reading it, and replaying from it.

A replay publishes the raw bytes to the topic that they came from, with the original key and headers, and in the same Kafka
transaction a marker to the dead-letter topic: `ratemill-replayed: ORIGIN`, in the partition of the letter, behind it. So a
letter is replayed exactly once unless that is asked for, whatever fails in between and however many people replay at once
(they share a transactional id, so the later one fences the earlier one).
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..schemas.dead_letter import DeadLetter, from_kafka
from ..schemas.decoders.registry import decode_record
from ..schemas.errors import UNREADABLE, BadInput, Reason, Unavailable
from ..schemas.usage_event import UsageEvent
from ..sinks.elasticsearch import ElasticsearchSink, check
from ..streams.config import Config
from ..streams.ledger import Unsettled
from ..streams.reach import client_settings, denied
from ..streams.restore import read_to_end
from ..streams.topics import Topics, existing_topics

__all__ = ["Found", "Place", "Scan", "marker", "on_kafka", "origin_of", "outgoing", "partitions_of", "replay_all", "scan"]

REPLAYED, REPLAYED_AT, FORMAT, BACKFILL = "ratemill-replayed", "ratemill-replayed-at", "ratemill-format", "ratemill-backfill"
LETTERS_PER_TRANSACTION, BYTES_PER_TRANSACTION = 500, 8 << 20
ELASTICSEARCH_PATIENCE_S = 60.0

T = TypeVar("T")
Record: TypeAlias = Any  # an aiokafka ConsumerRecord; the library has no types to follow
Position = tuple[int, int]  # partition and offset on the dead-letter topic
Place = tuple[int, Position]  # in the order of time: rejected_at, then where it stands
Sent = tuple[str, int, int, Reason]  # a record of a source, published again because of letters with this reason


class Found(NamedTuple):
    """A dead letter, and its place on the dead-letter topic."""

    position: Position
    letter: DeadLetter
    size: int  # of the raw record in bytes; the letter of a listing holds no bytes
    replayed: bool = False


class Holders:
    """The letters that hold the bytes of their record, the last one of each source: those for which it holds them come behind it."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str, int], tuple[DeadLetter, Position]] = {}

    def of(self, letter: DeadLetter, position: Position) -> tuple[DeadLetter, Position] | None:
        """The letter with the bytes of this one's record, and its place; None when retention has taken it. To be asked of every letter."""
        source = position[0], letter.topic, letter.partition
        if letter.held_by is None:
            self._last[source] = letter, position
            return letter, position
        found = self._last.get(source)
        return found if found is not None and (found[0].offset, found[0].index) == (letter.offset, letter.held_by) else None

    def whole(self, letter: DeadLetter, position: Position) -> DeadLetter | None:
        """The letter with the bytes of its record; None when they are not there any more."""
        found = self.of(letter, position)
        if found is None or found[0] is letter:
            return None if found is None else letter
        held = found[0]
        return replace(letter, value=held.value, key=held.key, headers=held.headers, cut=held.cut)


class Scan:
    """What a pass over the dead-letter topic found."""

    def __init__(self) -> None:
        self.letters: list[Found] = []  # the newest, oldest first
        self.reasons: Counter[str] = Counter()  # of all that match
        self.origins: dict[Position, str] = {}  # of all that match, if they were asked for
        self.holders: dict[Position, Position] = {}  # of those whose bytes are in another letter, where it is
        self.replayed: set[Position] = set()
        self.waiting: Counter[str] = Counter()  # reasons of those that were not replayed, if all were asked for
        self.foreign = 0  # records that are neither dead letters nor markers

    @property
    def matched(self) -> int:
        """How many match."""
        return sum(self.reasons.values())


def on_kafka(config: Config, work: Callable[[], Awaitable[T]]) -> T:
    """Run `work`; when Kafka is not there, one line says so. Raises Unavailable."""

    async def run() -> T:
        try:
            return await work()
        except KafkaError as error:
            if reason := await denied(config.kafka, error):
                raise reason from error
            raise

    try:
        return asyncio.run(run())
    except ProducerFenced as error:
        raise Unavailable("another `ratemill dead-letters replay` took over; what this one had not finished is undone: run it again later") from error
    except (KafkaError, Unsettled, OSError) as error:
        cause = error.__cause__ or error
        raise Unavailable(
            f"Kafka at {config.kafka.bootstrap} does not answer ({type(cause).__name__}); start it (`ratemill local up`) or set kafka.bootstrap"
        ) from error


async def partitions_of(config: Config, topic: str) -> list[int]:
    """Partitions of a topic; none when it does not exist."""
    return list(range((await existing_topics(config, {topic})).get(topic, 0)))


async def scan(
    config: Config, wanted: Callable[[DeadLetter], bool], *, newest: int = 0, cut_to: int = 0, every: bool = False,
    starts: dict[TopicPartition, int] | None = None, before: Place | None = None,
) -> Scan:  # fmt: skip
    """Read the dead-letter topic: counts, the `newest` letters (with at most `cut_to` of their bytes), origins of all if `every`.

    before: only letters that come before this place are among the newest; the counts are of all.
    """
    topic = Topics.of(config.kafka).dead_letter
    if starts is None:
        starts = {TopicPartition(topic, number): 0 for number in await partitions_of(config, topic)}
    found = Scan()
    heap: list[tuple[int, Position, Found]] = []
    markers: dict[tuple[int, str], int] = {}
    reasons: dict[Position, str] = {}
    holders = Holders()
    if starts:
        async with aclosing(_records(config, starts)) as records:
            async for partition, record in records:
                if (replayed := marked(record)) is not None:
                    markers[partition, replayed] = record.offset
                    continue
                try:
                    letter = from_kafka(record.key, record.value, record.headers)
                except BadInput:
                    found.foreign += 1
                    continue
                position = (partition, record.offset)
                holder = holders.of(letter, position)
                if not wanted(letter):
                    continue
                found.reasons[letter.reason.value] += 1
                if every:
                    found.origins[position], reasons[position] = origin_of(letter), letter.reason.value
                    if holder is not None and holder[1] != position:
                        found.holders[position] = holder[1]
                if newest and (before is None or (letter.rejected_at, position) < before):
                    whole = holders.whole(letter, position) or letter
                    kept = replace(whole, value=whole.value and whole.value[:cut_to]) if cut_to else replace(letter, value=None, headers=())
                    heapq.heappush(heap, (letter.rejected_at, position, Found(position, kept, whole.cut or len(whole.value or b""))))
                    if len(heap) > newest:
                        heapq.heappop(heap)

    def done(position: Position, origin: str) -> bool:
        return markers.get((position[0], origin), -1) > position[1]

    found.replayed = {position for position, origin in found.origins.items() if done(position, origin)}
    found.waiting = Counter(reason for position, reason in reasons.items() if position not in found.replayed)
    found.letters = [each._replace(replayed=done(each.position, origin_of(each.letter))) for _, _, each in sorted(heap)]
    return found


async def _records(config: Config, starts: dict[TopicPartition, int]) -> AsyncGenerator[tuple[int, Record]]:
    async with aclosing(read_to_end(config.kafka, starts)) as batches:  # type: ignore[type-var]
        async for tp, records in batches:
            for record in records:
                yield tp.partition, record


def origin_of(letter: DeadLetter) -> str:
    """topic/partition/offset/index."""
    return f"{letter.topic}/{letter.partition}/{letter.offset}/{letter.index}"


class Outgoing(NamedTuple):
    """A record to publish; partition None: by its key."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def outgoing(letter: DeadLetter, config: Config, backfill: str) -> Outgoing | None:
    """The record of a replay; None when this configuration reads no such topic."""
    topics = Topics.of(config.kafka)
    if letter.topic not in topics.raw and letter.topic != topics.events:
        return None
    headers = [pair for pair in letter.headers if not (backfill and pair[0] == BACKFILL)]
    if backfill:
        headers.append((BACKFILL, backfill.encode()))
    if holds_cloudevent(letter):
        headers.append((FORMAT, b"cloudevents"))
    key = letter.key
    if letter.reason is Reason.MISPLACED:
        # The key was not the account, or its partitioner not Kafka's own: with the old key it would be misplaced again.
        entries = decode_record(topics.raw.get(letter.topic, ""), letter.value, letter.headers)
        accounts = {entry.account if isinstance(entry, UsageEvent) else "" for entry in entries}
        key = accounts.pop().encode() if len(accounts) == 1 and accounts != {""} else key
    # Packed events, and records without a key, belong to the partition they came from; Kafka's own partitioner places the rest.
    partition = letter.partition if letter.topic == topics.events or (key is None and letter.topic in topics.keyed) else None
    return Outgoing(letter.topic, partition, key, letter.value, headers)


def holds_cloudevent(letter: DeadLetter) -> bool:
    """Is the value an event in the plain form, and not the raw record, which was one hop away when the conflict was found?"""
    if letter.reason is not Reason.CONFLICT or letter.key is not None or letter.headers or not letter.value:
        return False
    try:
        value = msgspec.json.decode(letter.value)
    except UNREADABLE:
        return False
    return isinstance(value, dict) and value.get("specversion") == "1.0" and value.get("type") == "ratemill.usage"


def marker(origin: str, now_ns: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers of the record that says: the letters with this origin before it, in its partition, were replayed."""
    return origin.encode(), b"", [(REPLAYED, origin.encode()), (REPLAYED_AT, str(now_ns).encode())]


def marked(record: Record) -> str | None:
    """The origin in a marker; None for any other record."""
    return next((value.decode(errors="replace") for name, value in record.headers if name == REPLAYED), None)


async def replay_all(config: Config, chosen: Collection[Position], holders: Mapping[Position, Position], backfill: str, again: bool) -> Counter[str]:
    """Replay the letters at these places; counts of `replayed`, `elsewhere` (not our topic), `refused` (by Elasticsearch) and `cut`.

    holders: where the bytes are of those that do not hold them (Scan.holders).
    """
    topic, done = Topics.of(config.kafka).dead_letter, Counter[str]()
    producer = AIOKafkaProducer(
        **client_settings(config.kafka), transactional_id=f"{config.kafka.group_id}-dead-letters", max_request_size=20 << 20, linger_ms=5
    )
    try:
        await producer.start()  # from here on nobody else's replay can commit
        starts: dict[TopicPartition, int] = {}
        for number, offset in [*chosen, *(holders[each] for each in chosen if each in holders)]:
            starts[TopicPartition(topic, number)] = min(offset, starts.get(TopicPartition(topic, number), offset))
        if not again:
            fresh = await scan(config, lambda _: True, every=True, starts=starts)
            chosen = set(chosen) - fresh.replayed
        pending, size, last, sent = list[Found](), 0, Holders(), set[Sent]()
        with progress_bar(len(chosen)) as advance:
            async with aclosing(_records(config, starts)) as records:
                async for number, record in records:
                    position = number, record.offset
                    if marked(record) is not None:
                        continue
                    try:
                        letter = from_kafka(record.key, record.value, record.headers)
                    except BadInput:
                        continue
                    whole = last.whole(letter, position)
                    if position not in chosen:
                        continue
                    if whole is None or whole.cut:
                        done["cut"] += 1
                        continue
                    pending.append(Found(position, whole, len(whole.value or b"")))
                    size += pending[-1].size if whole.held_by is None else 0  # else it is that of its holder
                    if len(pending) >= LETTERS_PER_TRANSACTION or size >= BYTES_PER_TRANSACTION:
                        done += await _replay_some(config, producer, pending, backfill, sent)
                        advance(len(pending))
                        pending, size = [], 0
            done += await _replay_some(config, producer, pending, backfill, sent)
            advance(len(pending))
    finally:
        await producer.stop()
    return done


async def _replay_some(config: Config, producer: AIOKafkaProducer, letters: Sequence[Found], backfill: str, sent: set[Sent]) -> Counter[str]:
    """One transaction: the records and their markers. A record whose bytes several letters share (`sent`) is published for the first one."""
    if not letters:
        return Counter()
    topics, now, done = Topics.of(config.kafka), time.time_ns(), Counter[str]()
    refused = await _index([each for each in letters if each.letter.topic == topics.rated], config)
    async with producer.transaction():
        for each in letters:
            record = outgoing(each.letter, config, backfill)
            if each.position in refused or (record is None and each.letter.topic != topics.rated):
                done["refused" if each.position in refused else "elsewhere"] += 1
                continue
            this = each.letter.topic, each.letter.partition, each.letter.offset, each.letter.reason
            if record is not None and not (each.letter.held_by is not None and this in sent):
                await producer.send(record.topic, record.value, record.key, record.partition, headers=record.headers)
                sent.add(this)
            key, value, headers = marker(origin_of(each.letter), now)
            await producer.send(topics.dead_letter, value, key, each.position[0], headers=headers)
            done["replayed"] += 1
    return done


async def _index(letters: Sequence[Found], config: Config) -> set[Position]:
    """Write refused line items to Elasticsearch again (an older revision cannot replace a newer one); returns those refused again."""
    if not letters:
        return set()
    es = config.elasticsearch
    sink = ElasticsearchSink(es.url, prefix=es.index_prefix, refresh_interval=es.refresh_interval, **es.access)
    try:
        async with asyncio.timeout(ELASTICSEARCH_PATIENCE_S):
            await check(sink.client)  # the sink itself would wait for it
            await sink.start()
            refused = {item.item for item in await sink.write([each.letter.value or b"" for each in letters])}
    except TimeoutError as error:
        raise Unavailable("Elasticsearch does not take the line items in time; see `ratemill doctor`") from error
    finally:
        await sink.close()
    return {each.position for each in letters if (each.letter.value or b"") in refused}


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error where somebody watches; yields what to call with the number done."""
    console = Console(stderr=True)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal or total < 20, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)
