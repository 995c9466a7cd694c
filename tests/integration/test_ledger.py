"""Transactions of a partition: how one ends that was taken away while it was still being written."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from aiokafka import TopicPartition
from harness.topics import make_topic
from ratemill.local.stack import Stack
from ratemill.streams import failpoints
from ratemill.streams.config import KafkaConfig
from ratemill.streams.ledger import Fenced, Ledger

pytestmark = pytest.mark.integration


async def test_a_worker_that_is_fenced_between_two_topics_hears_that_it_is_fenced(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client then says only that there is no transaction, which is no error of Kafka's, and would end the whole worker."""
    topic = f"ledger-{uuid.uuid4().hex[:8]}"
    await make_topic(stack.kafka, topic, 3)
    kafka = KafkaConfig(bootstrap=stack.kafka, group=topic)
    old, new = Ledger(kafka, "rate-0"), Ledger(kafka, "rate-0")
    await old.fence()

    async def take_over(_: str) -> None:
        await new.fence()
        producer = old._producer
        assert producer is not None
        await producer.send(topic, b"a partition that is new to the transaction", partition=1)
        async with asyncio.timeout(30):
            while producer._txn_manager.is_in_transaction():
                await asyncio.sleep(0.05)

    monkeypatch.setitem(failpoints._installed, "after_line_items", take_over)
    try:
        with pytest.raises(Fenced):
            await old.commit([(topic, 0, [(b"a", b"1", [])]), (topic, 2, [(b"b", b"2", [])])], {TopicPartition(topic, 0): 0})
    finally:
        await old.discard()
        await new.discard()
