"""Topics as the bench needs them: create, delete, read to the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ..schemas.errors import Unavailable

__all__ = ["consumer_of", "create", "delete", "read_all", "records_in"]

DELETED_WITHIN_S = 30.0


async def _admin(bootstrap: str) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=20_000)
    await admin.start()
    return admin


async def delete(bootstrap: str, prefix: str, keep: frozenset[str] = frozenset()) -> None:
    """Delete the topics with this prefix, but those to keep, and return when they are gone."""
    admin = await _admin(bootstrap)
    try:
        deadline = time.monotonic() + DELETED_WITHIN_S
        while gone := [t for t in await admin.list_topics() if t.startswith(prefix) and t not in keep]:
            if time.monotonic() > deadline:
                raise Unavailable(f"topics {', '.join(sorted(gone))} are still there {DELETED_WITHIN_S:.0f} s after they were deleted")
            await admin.delete_topics(gone)
            await asyncio.sleep(0.3)
    finally:
        await admin.close()


async def create(bootstrap: str, topic: str, partitions: int) -> None:
    """Create a topic that must not be there."""
    admin = await _admin(bootstrap)
    try:
        answer = await admin.create_topics([NewTopic(name=topic, num_partitions=partitions, replication_factor=1)])
        failed = [error for error in answer.topic_errors if error[1]]
        if failed:
            raise Unavailable(f"cannot create topic {topic}: {failed[0]}")
    finally:
        await admin.close()


def consumer_of(bootstrap: str) -> AIOKafkaConsumer:
    """A consumer without a group that sees what is committed, and fetches much at once. Not started."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20, fetch_max_wait_ms=50,
    )  # fmt: skip


async def records_in(bootstrap: str, topic: str, partitions: int) -> tuple[int, float]:
    """How many offsets a topic holds, and the age in seconds of its first record; (0, 0) when there is no such topic."""
    admin = await _admin(bootstrap)
    try:
        if topic not in await admin.list_topics():
            return 0, 0.0
    finally:
        await admin.close()
    consumer = consumer_of(bootstrap)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for p in range(partitions)]
        consumer.assign(tps)
        count = sum((await consumer.end_offsets(tps)).values())
        if not count:
            return 0, 0.0
        await consumer.seek_to_beginning(*tps)
        first = await asyncio.wait_for(consumer.getone(), 30)
        return count, time.time() - first.timestamp / 1_000
    finally:
        await consumer.stop()


async def read_all(bootstrap: str, topic: str, partitions: int) -> AsyncIterator[Sequence[Any]]:
    """Committed records of a topic to its present end, in batches."""
    consumer = consumer_of(bootstrap)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for p in range(partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        waiting = {tp for tp in tps if ends[tp]}
        while waiting:
            for records in (await consumer.getmany(*waiting, timeout_ms=100, max_records=10_000)).values():
                yield records
            waiting = {tp for tp in waiting if await consumer.position(tp) < ends[tp]}
    finally:
        await consumer.stop()
