"""Fill the raw topic once; every run reads it from the beginning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from ..schemas.errors import Unavailable
from .broker import Say
from .kafka_io import create, delete, read_all, records_in
from .oracle import Expected, expect
from .shape import Shape, events, last_hour

__all__ = ["PREFIX", "RAW", "ensure_filled", "expected_of", "packed", "producer_of", "publish", "raw_topic"]

PREFIX = "bench."
RAW = "usage.raw."
# Older events would soon be refused as too old (35 days by default).
USABLE_FOR_S = 25 * 86_400
BATCH_BYTES = 1 << 20


def raw_topic(shape: Shape) -> str:
    """Name of the raw topic, without the prefix."""
    return RAW + shape.name


async def ensure_filled(bootstrap: str, shape: Shape, say: Say) -> str:
    """Fill the topic unless it is there, whole and young enough. Returns its full name."""
    topic = PREFIX + raw_topic(shape)
    count, age = await records_in(bootstrap, topic, shape.partitions)
    if shape.filled(count) and age < USABLE_FOR_S:
        say(f"using topic {topic}, filled {age / 60:.0f} minutes ago")
        return topic
    if count:
        await delete(bootstrap, topic)
    await create(bootstrap, topic, shape.partitions)
    begin = time.monotonic()
    producer = producer_of(bootstrap)
    await producer.start()
    try:
        await publish(producer, topic, shape, last_hour(), say)
    finally:
        await producer.stop()
    say(f"filled {topic} in {time.monotonic() - begin:.0f} s")
    return topic


def producer_of(bootstrap: str, **options: Any) -> AIOKafkaProducer:
    """A producer of large batches."""
    return AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=BATCH_BYTES, max_request_size=8 * BATCH_BYTES, **options)


async def publish(producer: AIOKafkaProducer, topic: str, shape: Shape, end_s: int, say: Say) -> None:
    """Publish the events of a shape, the last of which happens at `end_s`, and wait until they are acknowledged."""
    partitioner, numbers = DefaultPartitioner(), list(range(shape.partitions))
    partitions: dict[str, int] = {}
    batches = [producer.create_batch() for _ in numbers]
    waiting: list[list[bytes]] = [[] for _ in numbers]  # events of records that are not full yet
    under_way: list[asyncio.Future[Any]] = []
    done = 0

    async def put(at: int, key: bytes | None, value: bytes) -> None:
        if batches[at].append(key=key, value=value, timestamp=None) is None:
            under_way.append(await producer.send_batch(batches[at], topic, partition=at))
            batches[at] = producer.create_batch()
            batches[at].append(key=key, value=value, timestamp=None)

    for chunk in events(shape, end_s):
        for account, value in chunk:
            key = account.encode()
            at = partitions.get(account)
            if at is None:
                at = partitions[account] = partitioner(key, numbers, numbers)
            if shape.per_record == 1:
                await put(at, key, value)
                continue
            # A record of several accounts has no key of its own; its partition says where they are at home.
            waiting[at].append(value)
            if len(waiting[at]) == shape.per_record:
                await put(at, None, packed(waiting[at]))
                waiting[at] = []
        await asyncio.gather(*under_way)
        under_way.clear()
        done += len(chunk)
        say(f"filled {done:,} of {shape.events:,} events")
    for at in numbers:
        if waiting[at]:
            await put(at, None, packed(waiting[at]))
        if batches[at].record_count():
            under_way.append(await producer.send_batch(batches[at], topic, partition=at))
    await asyncio.gather(*under_way)


def packed(events: Sequence[bytes]) -> bytes:
    """One record of several CloudEvents: their JSON batch format."""
    return b"[%b]" % b",".join(events)


async def expected_of(bootstrap: str, topic: str, shape: Shape, folder: Path, say: Say) -> Expected:
    """The oracle's truth about the topic, kept in the folder beside the broker's data once it is known."""
    kept = folder / f"oracle-{shape.name}.json"
    _, age = await records_in(bootstrap, topic, shape.partitions)
    if kept.exists() and time.time() - kept.stat().st_mtime < age:
        return msgspec.json.decode(kept.read_bytes(), type=Expected)
    say("the oracle reads the topic")
    values = [record.value async for records in read_all(bootstrap, topic, shape.partitions) for record in records if record.value is not None]
    expected = expect(values)
    if expected.received != shape.events:
        raise Unavailable(f"topic {topic} holds {expected.received:,} of {shape.events:,} events; delete it, and it is filled again")
    kept.write_bytes(msgspec.json.encode(expected))
    return expected
