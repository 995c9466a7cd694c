"""Reading the raw topics once more, beside the workers, for `ratemill watch`: what arrived from which source, and when.

It is in no consumer group and commits nothing: where to go on is for the caller to keep, together with the counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ..schemas.arrivals import Arrivals
from ..schemas.decoders.cloudevents import decode_plain_many
from ..schemas.decoders.registry import decode_record
from ..schemas.errors import Rejection, Unavailable
from ..schemas.limits import Limits
from ..schemas.times import NS
from .config import Config
from .reach import client_settings, denied
from .topics import Topics, existing_topics

__all__ = ["BACK_S", "count_records", "read_arrivals"]

BACK_S = 7 * 86_400  # where it begins the first time
_LOOK_AGAIN_S = 60.0  # for topics and partitions that were not there
_POLL_MS = 1_000
_MOST_RECORDS = 500


async def read_arrivals(config: Config, positions: Mapping[tuple[str, int], int]) -> AsyncGenerator[Arrivals]:
    """What arrives, batch by batch, for ever; an empty one about every second when nothing does.

    positions: (topic, partition) -> where to go on. A partition that is not there begins a week back. Raises Unavailable, AccessDenied.
    """
    topics, next_ = Topics.of(config.kafka), dict(positions)
    while True:
        try:
            found = await existing_topics(config, list(topics.raw))
            partitions = [TopicPartition(name, number) for name, count in found.items() for number in range(count)]
            if not partitions:
                await asyncio.sleep(_POLL_MS / 1_000)
                continue
            async with aclosing(_session(config, topics.raw, partitions, next_)) as session:
                async for batch in session:
                    yield batch
        except (KafkaError, OSError, TimeoutError) as error:
            raise await denied(config.kafka, error) or Unavailable(f"Kafka at {config.kafka.bootstrap}: {error!r}; trying again") from error


async def _session(
    config: Config, providers: Mapping[str, str], partitions: list[TopicPartition], next_: dict[tuple[str, int], int]
) -> AsyncGenerator[Arrivals]:
    consumer = AIOKafkaConsumer(
        **client_settings(config.kafka), enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed",
        fetch_max_bytes=8 << 20,
    )  # fmt: skip
    try:
        await consumer.start()
        consumer.assign(partitions)
        new = {tp for tp in partitions if tuple(tp) not in next_}
        if new:
            times = await consumer.offsets_for_times(dict.fromkeys(new, int((time.time() - BACK_S) * 1_000)))
            ends = await consumer.end_offsets(new)
            next_.update({tuple(tp): times[tp].offset if times.get(tp) else ends[tp] for tp in new})
        for tp in partitions:
            consumer.seek(tp, next_[tuple(tp)])
        until = time.monotonic() + _LOOK_AGAIN_S
        while time.monotonic() < until:
            now = int(time.time())
            ends = await consumer.end_offsets(partitions)
            fetched = await consumer.getmany(*partitions, timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
            batch = Arrivals()
            for tp, records in fetched.items():
                await asyncio.to_thread(count_records, batch, providers[tp.topic], tp.topic, records, config.rating.limits, now)
            reached = {tp: await consumer.position(tp) for tp in partitions}
            batch.positions = {tuple(tp): offset for tp, offset in reached.items() if tp in new or offset != next_[tuple(tp)]}
            next_.update(batch.positions)
            new.clear()
            # Offsets of markers count as reached once they are read past: a partition that ends with one is at its end then.
            batch.through = now if all(reached[tp] >= ends[tp] for tp in partitions) else 0
            yield batch
    finally:
        await consumer.stop()


def count_records(batch: Arrivals, provider: str, topic: str, records: Iterable[Any], limits: Limits, now: int) -> None:
    """Count the usage events in raw records; what does not decode is nothing that a source has sent.

    The source of a CloudEvent is what it names; a provider's own usage has the topic as its source. now: seconds since 1970, for records
    whose producer gave no time, or one to come.
    """
    records = list(records)
    simple = decode_plain_many([None if record.headers else record.value for record in records], limits) if provider == "cloudevents" else ()
    for record, event in zip(records, simple or [None] * len(records), strict=True):
        found = [event] if event is not None else decode_record(provider, record.value, record.headers, limits)
        arrived = record.timestamp // 1_000
        for each in found:
            if not isinstance(each, Rejection):
                batch.add(each.source if provider == "cloudevents" else topic, each.time // NS, arrived if 0 < arrived <= now else now)
