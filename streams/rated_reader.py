"""Reading the rated topic beside everybody else, read_committed, for `ratemill marketplace report`: line items, and how far that came.

It is in no consumer group and commits nothing: where to go on is for the caller to keep, together with what it made of the line items.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ..schemas.errors import UNREADABLE, BadInput, Damaged, Unavailable
from ..schemas.line_item import RatedLineItem, decode_line_item
from .config import Config
from .reach import client_settings, denied
from .topics import Topics, existing_topics

__all__ = ["RatedBatch", "read_rated"]

_POLL_MS = 1_000
_MOST_RECORDS = 2_000
_LOOK_AGAIN_S = 60.0  # for partitions that were not there


@dataclass
class RatedBatch:
    """positions: (topic, partition) -> the offset behind what was read. through: everything that was there then is read; 0: more was."""

    items: list[RatedLineItem] = field(default_factory=list)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    through: int = 0


async def read_rated(config: Config, positions: Mapping[tuple[str, int], int]) -> AsyncGenerator[RatedBatch]:
    """Line items, batch by batch, for ever; an empty batch about every second when none come. A partition without a position begins at its start.

    Raises Unavailable, AccessDenied, Damaged, and BadInput when a position lies behind the end of its partition.
    """
    next_ = dict(positions)
    while True:
        try:
            topic = Topics.of(config.kafka).rated
            found = await existing_topics(config, [topic])
            if topic not in found:
                raise Unavailable(f"topic {topic} is not there; start `ratemill worker`: the first one makes it")
            partitions = [TopicPartition(topic, number) for number in range(found[topic])]
            async with aclosing(_session(config, partitions, next_)) as session:
                async for batch in session:
                    yield batch
        except (KafkaError, OSError, TimeoutError) as error:
            raise await denied(config.kafka, error) or Unavailable(f"Kafka at {config.kafka.bootstrap}: {error!r}; trying again") from error


async def _session(config: Config, partitions: list[TopicPartition], next_: dict[tuple[str, int], int]) -> AsyncGenerator[RatedBatch]:
    consumer = AIOKafkaConsumer(
        **client_settings(config.kafka), enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed"
    )  # fmt: skip
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends, begins = await consumer.end_offsets(partitions), await consumer.beginning_offsets(partitions)
        for tp in partitions:
            at = max(next_.get(tuple(tp), 0), begins[tp])
            if at > ends[tp]:
                raise BadInput(f"{tp.topic}/{tp.partition} ends at {ends[tp]}, and {at} was read before; the topic was made anew: use a new database")
            consumer.seek(tp, at)
        until = time.monotonic() + _LOOK_AGAIN_S
        while time.monotonic() < until:
            now = int(time.time())
            ends = await consumer.end_offsets(partitions)
            batch = RatedBatch()
            for tp, records in (await consumer.getmany(*partitions, timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)).items():
                batch.items += [_item(tp, record) for record in records if record.value]
            # The position passes transaction markers, which are offsets but never records.
            reached = {tuple(tp): await consumer.position(tp) for tp in partitions}
            batch.positions = {key: offset for key, offset in reached.items() if offset != next_.get(key)}
            next_.update(batch.positions)
            batch.through = now if all(reached[tuple(tp)] >= ends[tp] for tp in partitions) else 0
            yield batch
    finally:
        await consumer.stop()


def _item(tp: TopicPartition, record: Any) -> RatedLineItem:
    try:
        return decode_line_item(record.value)
    except UNREADABLE as error:
        raise Damaged(f"the line item at {tp.topic}/{tp.partition}/{record.offset}", error) from error
