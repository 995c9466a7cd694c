"""Reading a partition of a topic to its stable end: what restoring is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from .config import KafkaConfig
from .ledger import Unsettled
from .progress import Progress, decode_progress
from .reach import client_settings, denied

__all__ = ["Span", "bounds", "place", "read_progress", "read_to_end", "spans"]

Bounds = tuple[dict[TopicPartition, int], dict[TopicPartition, int]]  # first offsets, high watermarks

STALLED_S = 90.0  # longer than a transaction of a stopped worker can stay open (ledger.TRANSACTION_TIMEOUT_S, and the broker looks every 10 s)

NEWEST = 2_000  # offsets of the progress topic that are searched first


async def read_to_end(
    kafka: KafkaConfig, starts: Mapping[TopicPartition, int], known: Bounds | None = None
) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
    """Committed records of several partitions from the given offsets to the end as of this call, batch by batch.

    The end is the high watermark, not the last stable offset. The caller has fenced its own writers, but lanes share the
    partitions of the progress topic, and an open transaction of another lane (a worker that was stopped in it, or died) hides
    what our own lane committed behind it. So this waits until such a transaction is settled: by its own lane's next fence, or
    by its timeout. Partitions may start behind what retention has kept; reading then begins at what is there. Raises Unsettled
    when Kafka does not deliver, AccessDenied when it will not. `known`: the bounds, when they were asked for just now.
    """
    begins, ends = known or await bounds(kafka, list(starts))
    begins = {tp: max(start, begins[tp]) for tp, start in starts.items()}
    open_ = {tp for tp in starts if begins[tp] < ends[tp]}
    if not open_:
        return  # and make no consumer: stopped before its tasks have begun, it raises CancelledError
    consumer = AIOKafkaConsumer(
        **client_settings(kafka),
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        consumer.assign(list(open_))
        for tp in open_:
            consumer.seek(tp, begins[tp])
        idle_since = asyncio.get_running_loop().time()
        while open_:
            batches = await consumer.getmany(*open_, timeout_ms=200, max_records=5_000)
            for tp, records in batches.items():
                yield tp, records
            # The position passes transaction markers, which are offsets but never records.
            still_open = {tp for tp in open_ if await consumer.position(tp) < ends[tp]}
            if batches or still_open != open_:
                idle_since = asyncio.get_running_loop().time()
            elif asyncio.get_running_loop().time() - idle_since > STALLED_S:
                where = sorted([f"{tp.topic} {tp.partition} at {await consumer.position(tp)} of {ends[tp]}" for tp in open_])
                # Longer than any transaction may last: one that is still open will not end by itself.
                raise Unsettled(
                    f"restoring stalled: {', '.join(where)}; if Kafka answers, `ratemill transactions list`, "
                    "and see 'A transaction that hangs' in docs/operations.md"
                )
            open_ = still_open
    except (KafkaError, OSError) as error:
        raise await denied(kafka, error) or Unsettled(f"restoring failed: {error!r}") from error
    finally:
        await consumer.stop()


async def bounds(kafka: KafkaConfig, tps: list[TopicPartition]) -> Bounds:
    """First offsets and high watermarks: a consumer that reads committed records is told last stable offsets instead."""
    try:
        async with _asking(kafka, tps) as consumer:
            return await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    except (KafkaError, OSError) as error:
        raise await denied(kafka, error) or Unsettled(f"restoring failed: {error!r}") from error


async def readable(kafka: KafkaConfig, tps: list[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Last stable offset and high watermark: between them stands a transaction that is open. Raises KafkaError."""
    async with _asking(kafka, tps) as consumer, _asking(kafka, tps, "read_committed") as careful:
        stable = await careful.end_offsets(tps)  # asked first: what is written in between must not look open
        ends = await consumer.end_offsets(tps)
    return {tp: (stable[tp], ends[tp]) for tp in tps}


class Span(NamedTuple):
    """Part of a partition: first offset to read, next offset to be written, and whether retention may have taken what was before."""

    start: int
    end: int
    cut: bool


async def spans(kafka: KafkaConfig, since_ms: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, Span]:
    """What arrived in each partition since a time (milliseconds since 1970; None and 0: all of it). Raises KafkaError."""
    if not since_ms:
        return {}
    tps = list(since_ms)
    async with _asking(kafka, tps) as consumer:
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        timed = {tp: since for tp, since in since_ms.items() if since}
        at = await consumer.offsets_for_times(timed) if timed else {}
    found = {}
    for tp in tps:
        start = begins[tp]
        if tp in timed:
            start = ends[tp] if at[tp] is None else max(begins[tp], at[tp].offset)
        found[tp] = Span(start, ends[tp], begins[tp] > 0 and start == begins[tp])
    return found


@asynccontextmanager
async def _asking(kafka: KafkaConfig, tps: list[TopicPartition], isolation_level: str = "read_uncommitted") -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that is only asked where things are: it fetches nothing."""
    consumer = AIOKafkaConsumer(**client_settings(kafka), enable_auto_commit=False, isolation_level=isolation_level)
    try:
        await consumer.start()
        # Only topics of an assignment are in its metadata.
        consumer.assign(tps)
        consumer.pause(*tps)
        yield consumer
    finally:
        await consumer.stop()


def place(lane: str, topic: str, partition: int, offset: int) -> str:
    """Where a progress record stands, for an error."""
    return f"the progress of {lane} at {topic}/{partition}/{offset}"


async def read_progress(kafka: KafkaConfig, topic: str, partition: int, lane: str) -> Progress:
    """The last committed progress of a lane, from the partition of the progress topic it writes to; a new one when there is none.

    The log is searched from its end: a lane that worked lately stands there, and before it may lie a week of commits that
    compaction has not come to. Raises Unsettled; NewerSchema, when a newer Ratemill wrote it.
    """
    tp = TopicPartition(topic, partition)
    known = begins, ends = await bounds(kafka, [tp])
    reach = NEWEST
    while True:
        start = max(begins[tp], ends[tp] - reach)
        last: bytes | None = None
        where = ""
        async for _, records in read_to_end(kafka, {tp: start}, known):
            for record in records:
                if record.key == lane.encode() and record.value is not None:
                    last, where = record.value, place(lane, topic, partition, record.offset)
        if last is not None or start == begins[tp]:
            return decode_progress(last, where) if last else Progress(lane)
        reach *= 16
