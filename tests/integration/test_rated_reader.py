"""What the marketplace reporter reads from a real Kafka: committed line items only, each once, and on from where it stopped."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from aiokafka import AIOKafkaProducer
from ratemill.local.stack import Stack
from ratemill.schemas.errors import BadInput, Damaged, Unavailable
from ratemill.schemas.line_item import RatedLineItem, encode_line_item
from ratemill.streams.config import Config, load_config
from ratemill.streams.rated_reader import RatedBatch, read_rated
from ratemill.streams.topics import ensure_topics

pytestmark = pytest.mark.integration

TIME = "2026-11-02T23:00:00Z"


def item(id: str, revision: int) -> bytes:
    return encode_line_item(RatedLineItem(
        id, revision, "a", "USD", TIME, TIME, TIME, TIME, "s", "0", "0", "0", "0", "Usage", None, "", "1", "u", "", "", "", "", ""
    ))  # fmt: skip


def config_of(stack: Stack, prefix: str) -> Config:
    return load_config(environment={}, overrides={"kafka": {"bootstrap": stack.kafka, "topic_prefix": prefix, "partitions": 2}})


async def write(producer: AIOKafkaProducer, topic: str, *values: bytes, commit: bool) -> None:
    await producer.begin_transaction()
    for number, value in enumerate(values):
        await producer.send_and_wait(topic, value, b"key", partition=number % 2)  # a compacted topic takes none without
    await (producer.commit_transaction() if commit else producer.abort_transaction())


async def read_all(config: Config, positions: dict[tuple[str, int], int]) -> RatedBatch:
    """Everything up to the first moment at which nothing more was there."""
    whole = RatedBatch([], dict(positions))
    async with aclosing(read_rated(config, positions)) as batches:
        async for batch in batches:
            whole.items += batch.items
            whole.positions |= batch.positions
            if batch.through:
                whole.through = batch.through
                return whole
    raise AssertionError("it ended")


async def test_committed_line_items_are_read_once_and_on_from_where_it_stopped(stack: Stack) -> None:
    config = config_of(stack, "rated-reader-")
    with pytest.raises(Unavailable, match="is not there"):
        await read_all(config, {})
    await ensure_topics(config)
    topic = "rated-reader-usage.rated"
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka, transactional_id="rated-reader") as producer:
        await write(producer, topic, item("a", 1), item("b", 1), item("a", 2), commit=True)
        await write(producer, topic, item("never", 9), item("never", 9), commit=False)
        first = await read_all(config, {})
        assert sorted((each.x_line_item_id, each.x_revision) for each in first.items) == [("a", 1), ("a", 2), ("b", 1)]
        assert first.through > 0
        assert set(first.positions) == {(topic, 0), (topic, 1)}
        assert (await read_all(config, first.positions)).items == []
        await write(producer, topic, item("c", 3), commit=True)
        again = await read_all(config, first.positions)
        assert [each.x_line_item_id for each in again.items] == ["c"]
        with pytest.raises(BadInput, match="was made anew"):
            await read_all(config, {key: offset + 1_000 for key, offset in again.positions.items()})
        await write(producer, topic, b"{", commit=True)
        with pytest.raises(Damaged, match=rf"the line item at {topic}/0/"):
            await read_all(config, again.positions)
