"""Looking at the pipeline from outside, without any worker's help: offsets, the first waiting record of each partition, counters, dead letters.

The connections stay open between looks, and what cannot have changed is not read again, so that a look a second costs little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Set
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ..schemas.errors import Unavailable
from .config import Config
from .pipeline import DAY_MIN, DeadLetterCount, Look
from .progress import Progress, decode_progress
from .reach import admin_client, client_settings, denied
from .restore import NEWEST
from .topics import Topics, lanes_of, look, wanted_topics

__all__ = ["PipelineReader"]

READ_WITHIN_S = 1.5  # each of the four things that are read; what could not be by then is said not to be known, or read at the next look
LOOK_WITHIN_S = 10.0
FARTHEST = NEWEST * 16 * 16  # offsets of a partition of the progress topic that are searched for a lane
LETTERS_READ = 2_000  # offsets of a partition at a look; of more only the number is known


class _Open(NamedTuple):
    """Connections, and what is there. careful reads committed records alone; bare is asked for high watermarks, and reads what is open."""

    admin: Any
    careful: AIOKafkaConsumer
    bare: AIOKafkaConsumer
    lanes: dict[TopicPartition, str]
    progress: list[TopicPartition]
    letters: list[TopicPartition]
    missing: list[str]

    @property
    def every(self) -> list[TopicPartition]:
        """All that is looked at."""
        return [*self.lanes, *self.progress, *self.letters]


class PipelineReader:
    """Looks at one pipeline again and again; not to be used by two tasks at once."""

    def __init__(self, config: Config, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._config, self._now_ms = config, now_ms
        self._stack = AsyncExitStack()
        self._open: _Open | None = None
        self._firsts: dict[TopicPartition, tuple[int, int, int | None]] = {}  # source -> (offset, end then, timestamp of the first record)
        self._progress: dict[str, Progress] = {}
        self._count = DeadLetterCount()
        self._read_to: dict[TopicPartition, int] = {}  # of progress and dead letters

    async def look(self) -> Look:
        """How the pipeline stands now. Raises Unavailable, AccessDenied; then the next look connects anew."""
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                opened = await self._connected()
                return await self._look(opened)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            kafka = self._config.kafka
            raise await denied(kafka, error) or Unavailable(f"Kafka at {kafka.bootstrap}: {error!r}; start it, or see `ratemill doctor`") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections; the next look opens them again."""
        self._open, stack, self._stack = None, self._stack, AsyncExitStack()
        await stack.aclose()

    async def _connected(self) -> _Open:
        """Connections to all topics that exist; made anew while some are missing."""
        if self._open is not None and not self._open.missing:
            return self._open
        await self.close()
        kafka, topics = self._config.kafka, Topics.of(self._config.kafka)
        admin = await self._stack.enter_async_context(admin_client(kafka))
        names = [topic.name for topic in wanted_topics(self._config, topics)]
        counts = await look(admin, names)
        missing = [name for name in names if name not in counts]
        if len(missing) == len(names):
            raise Unavailable("none of the topics is there yet; start `ratemill worker`: the first one makes them")
        sources = {tp: lane for lane, tp in lanes_of(topics, counts)}
        kept = {name: [TopicPartition(name, n) for n in range(counts.get(name, 0))] for name in (topics.progress, topics.dead_letter)}
        consumers = []
        for isolation in ("read_committed", "read_uncommitted"):
            consumer = AIOKafkaConsumer(
                **client_settings(kafka), enable_auto_commit=False, isolation_level=isolation, auto_offset_reset="earliest",
                max_partition_fetch_bytes=64 << 10, fetch_max_wait_ms=100, request_timeout_ms=int(LOOK_WITHIN_S * 1_000),
            )  # fmt: skip
            self._stack.push_async_callback(consumer.stop)
            await consumer.start()
            consumer.assign([*sources, *kept[topics.progress], *kept[topics.dead_letter]])
            consumer.pause(*consumer.assignment())
            consumers.append(consumer)
        self._open = _Open(admin, consumers[0], consumers[1], sources, kept[topics.progress], kept[topics.dead_letter], missing)
        return self._open

    async def _look(self, opened: _Open) -> Look:
        # In this order: what is written in between must look neither processed before it came, nor hidden.
        committed = await opened.admin.list_consumer_group_offsets(self._config.kafka.group_id)
        begins = await opened.careful.beginning_offsets(opened.every)
        stable = await opened.careful.end_offsets(opened.every)
        ends = await opened.bare.end_offsets(list(opened.lanes))
        await self._read_progress(opened, {lane for tp, lane in opened.lanes.items() if tp in committed}, begins, stable)
        at = {}
        for tp, lane in opened.lanes.items():
            # Kafka forgets what a group without members has committed, after a week; the progress stays.
            known = self._progress[lane].next_offsets.get(tp.topic, 0) if lane in self._progress else 0
            at[tp] = max(committed[tp].offset if tp in committed else 0, known, begins[tp])
        return Look(
            now_ms=self._now_ms(),
            lanes=opened.lanes,
            at=at,
            ends=stable,
            firsts=await self._first_waiting(opened.careful, at, stable),
            hidden=await self._hidden(opened, stable, ends),
            progress=dict(self._progress),
            dead_letters=await self._dead_letters(opened, begins, stable),
            notes=(f"not there yet: {', '.join(opened.missing)}",) if opened.missing else (),
        )

    async def _first_waiting(
        self, consumer: AIOKafkaConsumer, at: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int | None]:
        wanted = {}
        for tp, start in at.items():
            offset, end, first = self._firsts.get(tp, (-1, -1, None))
            if start >= ends[tp]:
                self._firsts[tp] = start, ends[tp], None
            elif offset != start or (first is None and end != ends[tp]):
                self._firsts.pop(tp, None)
                wanted[tp] = start, ends[tp]
        for tp, found in (await _firsts(consumer, wanted)).items():
            self._firsts[tp] = *wanted[tp], found
        return {tp: self._firsts[tp][2] for tp in at if tp in self._firsts}

    async def _hidden(self, opened: _Open, stable: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        wanted = {tp: (stable[tp], ends[tp]) for tp in opened.lanes if stable[tp] < ends[tp]}
        found = await _firsts(opened.bare, wanted)
        return {tp: timestamp for tp, timestamp in found.items() if timestamp is not None}

    async def _read_progress(
        self, opened: _Open, wanted: Set[str], begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Take over what lanes have written since the last look. Where there was none, search from the end until every wanted lane is found."""
        if any(ends[tp] < self._read_to.get(tp, 0) for tp in opened.progress):  # another topic of that name
            self._progress.clear()
        starts, searching, reach = {}, False, NEWEST
        for tp in opened.progress:
            known = self._read_to.get(tp, -1)
            follows = known >= 0 and 0 <= ends[tp] - known <= FARTHEST
            starts[tp] = max(begins[tp], known if follows else ends[tp] - reach)
            searching |= not follows
        deadline = time.monotonic() + READ_WITHIN_S
        while True:
            async for tp, records in _follow(opened.careful, starts, ends, deadline):
                for record in records:
                    if record.value is not None:
                        self._take(decode_progress(record.value, f"the progress at {tp.topic}/{tp.partition}/{record.offset}"))
                self._read_to[tp] = records[-1].offset + 1
            everything = all(starts[tp] == begins[tp] for tp in starts)
            if not searching or everything or reach >= FARTHEST or time.monotonic() > deadline or wanted <= self._progress.keys():
                return
            reach *= 16
            starts = {tp: max(begins[tp], ends[tp] - reach) for tp in starts}

    def _take(self, progress: Progress) -> None:
        known = self._progress.get(progress.lane)
        if known is None or known.revision <= progress.revision:  # a search from further back reads what is known once more
            self._progress[progress.lane] = progress

    async def _dead_letters(self, opened: _Open, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> tuple[int, int]:
        now, starts, skipped = self._now_ms(), {}, {}
        if new := [tp for tp in opened.letters if tp not in self._read_to]:
            since = await opened.careful.offsets_for_times(dict.fromkeys(new, now - DAY_MIN * 60_000))
            self._read_to |= {tp: ends[tp] if since[tp] is None else since[tp].offset for tp in new}
        for tp in opened.letters:
            starts[tp] = max(begins[tp], min(self._read_to[tp], ends[tp]), ends[tp] - LETTERS_READ)
            skipped[tp] = max(0, starts[tp] - max(begins[tp], self._read_to[tp]))
        async for tp, records in _follow(opened.careful, starts, ends, time.monotonic() + READ_WITHIN_S):
            for record in records:
                if record.value:  # that a letter was replayed is said by a record without one
                    self._count.add(record.timestamp, 1 + skipped[tp])
                    skipped[tp] = 0
            self._read_to[tp] = records[-1].offset + 1
        return self._count.within(now)


async def _follow(
    consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], deadline: float
) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
    """Records of some partitions up to their ends, or to the deadline."""
    open_ = {tp for tp, start in starts.items() if start < ends[tp]}
    for tp in open_:
        consumer.seek(tp, starts[tp])
    consumer.resume(*open_)
    try:
        while open_ and time.monotonic() < deadline:
            for tp, records in (await consumer.getmany(*open_, timeout_ms=100, max_records=1_000)).items():
                yield tp, records
            # The position passes transaction markers, which are offsets but never records.
            done = {tp for tp in open_ if await consumer.position(tp) >= ends[tp]}
            consumer.pause(*done)
            open_ -= done
    finally:
        consumer.pause(*open_)


async def _firsts(consumer: AIOKafkaConsumer, wanted: Mapping[TopicPartition, tuple[int, int]]) -> dict[TopicPartition, int | None]:
    """Timestamp of the first record between two offsets, None where there is none; what is missing could not be read in time."""
    found: dict[TopicPartition, int | None] = {}
    deadline = time.monotonic() + READ_WITHIN_S
    for tp, (start, _) in wanted.items():
        consumer.seek(tp, start)
    consumer.resume(*wanted)
    try:
        while (open_ := [tp for tp in wanted if tp not in found]) and time.monotonic() < deadline:
            for tp, records in (await consumer.getmany(*open_, timeout_ms=100, max_records=len(open_))).items():
                if records:
                    found[tp] = records[0].timestamp
            found |= {tp: None for tp in open_ if tp not in found and await consumer.position(tp) >= wanted[tp][1]}
            consumer.pause(*found)
    finally:
        consumer.pause(*wanted)
    return found
