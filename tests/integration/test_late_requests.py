"""A request that went without an answer may still reach Kafka, behind its own repetition. Found by the simulation (docs/simulation.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaConnectionError, for_code
from harness.topics import make_topic
from ratemill.local.stack import Stack
from ratemill.streams.config import KafkaConfig
from ratemill.streams.ledger import Ledger, Unsettled

pytestmark = pytest.mark.integration


def lose_one_end(producer: AIOKafkaProducer) -> Callable[[], Awaitable[Any]]:
    """Break the connection under the next EndTxn of a producer; what is returned lets it arrive after all, and gives the answer."""
    send = producer.client.send
    held: list[tuple[Any, Any, Any]] = []

    async def losing(node: int, request: Any, **options: Any) -> Any:
        if "EndTxn" in type(request).__name__ and not held:
            held.append((node, request, options))
            raise KafkaConnectionError("cut by the test")
        return await send(node, request, **options)

    async def arrive() -> Any:
        node, request, options = held[0]
        return await send(node, request, **options)

    producer.client.send = losing
    return arrive


async def committed(stack: Stack, topic: str) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, isolation_level="read_committed", auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        found: list[bytes | None] = []
        for _ in range(10):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [record.value for record in records]
        return found
    finally:
        await consumer.stop()


async def test_a_late_end_of_a_transaction_commits_half_of_the_next_one(stack: Stack) -> None:
    """What Kafka does to a client of aiokafka's age (KIP-890), and so why the ledger must not go on with such a producer."""
    await make_topic(stack.kafka, "late-end")
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka, transactional_id="late-end")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait("late-end", b"whole", partition=0)
        arrive = lose_one_end(producer)
        await producer.commit_transaction()  # asked again, and answered
        await producer.begin_transaction()
        await producer.send_and_wait("late-end", b"half", partition=0)
        assert (await arrive()).error_code == 0
        assert await committed(stack, "late-end") == [b"whole", b"half"]
    finally:
        await producer.client.close()
        await producer.stop()


async def test_the_ledger_gives_a_producer_up_whose_request_went_without_an_answer(stack: Stack) -> None:
    for topic in ("late-ledger", "late-source"):
        await make_topic(stack.kafka, topic)
    ledger = Ledger(KafkaConfig(bootstrap=stack.kafka, group="late-ledger"), "lane")
    await ledger.fence()
    old = ledger._producer
    assert old is not None
    await ledger.commit([("late-ledger", 0, [(None, b"first", [])])], {TopicPartition("late-source", 0): 1})
    arrive = lose_one_end(old)
    ledger._watch(old)  # as the wire below it breaks
    with pytest.raises(Unsettled, match="may still arrive"):
        await ledger.commit([("late-ledger", 0, [(None, b"second", [])])], {TopicPartition("late-source", 0): 2})
    new = Ledger(KafkaConfig(bootstrap=stack.kafka, group="late-ledger"), "lane")
    await new.fence()
    try:
        assert new._producer is not None
        await new._producer.begin_transaction()
        await new._producer.send_and_wait("late-ledger", b"half", partition=0)
        assert for_code((await arrive()).error_code) is InvalidProducerEpoch
        assert await committed(stack, "late-ledger") == [b"first", b"second"]
    finally:
        await ledger.discard()
        await new.discard()
