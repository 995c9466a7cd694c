"""Fill the raw topic once; every run reads it from the beginning."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from .broker import Say
from .kafka_io import create, delete, read_all, records_in
from .oracle import Expected, expect
from .shape import Shape, events, last_hour

__all__ = ["PARTITIONS", "PREFIX", "RAW", "ensure_filled", "expected_of", "raw_topic"]

PARTITIONS = 4
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
    count, age = await records_in(bootstrap, topic, PARTITIONS)
    if count == shape.events and age < USABLE_FOR_S:
        say(f"using topic {topic}, filled {age / 60:.0f} minutes ago")
        return topic
    if count:
        await delete(bootstrap, topic)
    await create(bootstrap, topic, PARTITIONS)
    begin = time.monotonic()
    await _fill(bootstrap, topic, shape, say)
    say(f"filled {topic} in {time.monotonic() - begin:.0f} s")
    return topic


async def _fill(bootstrap: str, topic: str, shape: Shape, say: Say) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=BATCH_BYTES, max_request_size=4 * BATCH_BYTES)
    await producer.start()
    partitioner, numbers = DefaultPartitioner(), list(range(PARTITIONS))
    partitions: dict[str, int] = {}
    batches = [producer.create_batch() for _ in numbers]
    under_way: list[asyncio.Future[Any]] = []
    done = 0
    try:
        for chunk in events(shape, last_hour()):
            for account, value in chunk:
                key = account.encode()
                at = partitions.get(account)
                if at is None:
                    at = partitions[account] = partitioner(key, numbers, numbers)
                if batches[at].append(key=key, value=value, timestamp=None) is None:
                    under_way.append(await producer.send_batch(batches[at], topic, partition=at))
                    batches[at] = producer.create_batch()
                    batches[at].append(key=key, value=value, timestamp=None)
            await asyncio.gather(*under_way)
            under_way = []
            done += len(chunk)
            say(f"filled {done:,} of {shape.events:,} events")
        for at, batch in enumerate(batches):
            if batch.record_count():
                await (await producer.send_batch(batch, topic, partition=at))
    finally:
        await producer.stop()


async def expected_of(bootstrap: str, topic: str, shape: Shape, folder: Path, say: Say) -> Expected:
    """The oracle's truth about the topic, kept in the folder beside the broker's data once it is known."""
    kept = folder / f"oracle-{shape.name}.json"
    _, age = await records_in(bootstrap, topic, PARTITIONS)
    if kept.exists() and time.time() - kept.stat().st_mtime < age:
        return msgspec.json.decode(kept.read_bytes(), type=Expected)
    say("the oracle reads the topic")
    values = [record.value async for records in read_all(bootstrap, topic, PARTITIONS) for record in records if record.value is not None]
    expected = expect(values)
    kept.write_bytes(msgspec.json.encode(expected))
    return expected
