"""The control topic and finding events in the log, on a real Kafka; no worker is needed."""

from __future__ import annotations

import asyncio
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from ratemill.local.stack import Stack
from ratemill.schemas.control import Amend, Close, Origin, Receipt, encode_control
from ratemill.schemas.dead_letter import DeadLetter, to_kafka
from ratemill.schemas.errors import BadInput, Reason
from ratemill.schemas.packed import as_cloudevent, pack
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.config import Config
from ratemill.streams.control_topic import Controls, load_controls, partitions_concerned, publish_control, wait_for_receipts
from ratemill.streams.find_events import FoundEvent, arrival_floor_ms, events_of, find_event
from ratemill.streams.topics import Topics, ensure_topics, partition_of

pytestmark = pytest.mark.integration

KEYED, HOPPED = "usage.raw.keyed", "usage.raw.hopped"
NOW_S = int(time.time())


def config_of(stack: Stack) -> Config:
    raw = [{"name": KEYED, "keyed_by": "account"}, {"name": HOPPED}]
    kafka = {"bootstrap": stack.kafka, "topic_prefix": f"ctl{uuid.uuid4().hex[:8]}.", "partitions": 2, "raw_topics": raw}
    return Config.model_validate({"kafka": kafka})


def event(id: str, quantity: int, age_s: int = 60, account: str = "a") -> UsageEvent:
    return UsageEvent(account, "s", id, "k", (NOW_S - age_s) * 10**9, Decimal(quantity), "GB")


class Log:
    """Writes what lanes and collectors would."""

    def __init__(self, config: Config) -> None:
        self.topics = Topics.of(config.kafka)
        self.raw = config.kafka.topic_prefix + HOPPED
        self.keyed = config.kafka.topic_prefix + KEYED
        self.home = partition_of("a", 2)
        self._settings = {"bootstrap_servers": config.kafka.bootstrap}

    async def write(self, topic: str, value: bytes, headers: Any = None, key: bytes | None = None, at_ms: int | None = None) -> int:
        producer = AIOKafkaProducer(**self._settings)
        await producer.start()
        try:
            return int((await producer.send_and_wait(topic, value, key, self.home, timestamp_ms=at_ms, headers=headers)).offset)
        finally:
            await producer.stop()

    async def packed(self, *events: UsageEvent, first: int, at_ms: int | None = None) -> int:
        offsets = list(range(first, first + len(events)))
        return await self.write(self.topics.events, pack(self.raw, 1, offsets, [7] * len(events), list(events)), at_ms=at_ms)

    async def dead(self, topic: str, partition: int, offset: int, index: int) -> None:
        key, value, headers = to_kafka(DeadLetter(Reason.CONFLICT, "x", topic, partition, offset, index, b"{}", 1))
        await self.write(self.topics.dead_letter, value, headers, key)


async def found_in(config: Config, account: str = "a", wanted: Any = None, **options: Any) -> list[FoundEvent]:
    return [found async for found in events_of(config, account, wanted, **options)]


async def test_events_are_found_with_the_place_they_came_from(stack: Stack) -> None:
    config = config_of(stack)
    await ensure_topics(config)
    log, home = Log(config), partition_of("a", 2)
    events = log.topics.events
    assert await found_in(config) == []
    old_ms = (NOW_S - 5_000) * 1_000
    await log.packed(event("old", 1, age_s=5_000), event("other", 1, account="b"), first=3, at_ms=old_ms)
    await log.write(events, b"not packed events, though it names a")
    second = await log.packed(event("e1", 1), event("e2", 2), event("e1", 1), event("lost", 1), first=10)
    direct = await log.write(log.keyed, as_cloudevent(event("e3", 3)), key=b"a")
    batch = b"[" + as_cloudevent(event("e1", 9)) + b"," + as_cloudevent(event("e4", 4)) + b"]"
    array = await log.write(log.keyed, batch, [("content-type", b"application/cloudevents-batch+json")], b"a")
    await log.dead(log.keyed, home, array, 0)  # e1 was there before, with another quantity
    await log.dead(log.raw, 1, 13, 7)  # lost

    found = {each.event.id: each for each in await found_in(config)}
    assert {id: int(each.event.quantity) for id, each in found.items()} == {"old": 1, "e1": 1, "e2": 2, "e3": 3, "e4": 4}
    assert found["e2"].origin == Origin(log.raw, 1, 11, 7)
    assert found["e2"].position == Origin(events, home, second, 1)
    assert found["e4"].origin == found["e4"].position == Origin(log.keyed, home, array, 1)
    assert found["e3"].position == Origin(log.keyed, home, direct, 0)

    # narrowed down
    seen: list[tuple[int, int]] = []
    since = arrival_floor_ms(config, (NOW_S - 1_000) * 10**9)
    recent = await found_in(config, since_ms=since, progress=lambda done, total: seen.append((done, total)))
    assert {each.event.id for each in recent} == {"e1", "e2", "e3", "e4"}
    assert seen[-1][0] == seen[-1][1] > 0
    assert [each.event.id for each in await found_in(config, ends={events: second, log.keyed: array})] == ["old", "e3"]
    assert await found_in(config, since_ms=(NOW_S + 5_000) * 1_000) == []
    assert len(await found_in(config, wanted=lambda each: each.id == "e1", repeated=True)) == 2
    assert [each.event.account for each in await found_in(config, "b")] == (["b"] if partition_of("b", 2) == home else [])

    # one of them
    one = await find_event(config, "a", "s", "e1")
    assert (one.event, one.origin) == (event("e1", 1), Origin(log.raw, 1, 10, 7))
    for wrong in (("a", "s", "lost"), ("a", "other", "e1"), ("c", "s", "e1")):
        with pytest.raises(BadInput, match="was counted as far as the log reaches back"):
            await find_event(config, *wrong)
    with pytest.raises(BadInput, match=r"counted since 20.*Z as far"):
        await find_event(config, "a", "s", "old", since_ms=since)


def request(**fields: Any) -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "author": "Ada", "reason": "because", "at_ns": time.time_ns(), **fields}


async def test_requests_and_receipts_over_kafka(stack: Stack) -> None:
    config = config_of(stack)
    assert (await load_controls(config)).requests == []  # no topic yet
    close = Close(**request(period="2026-05"))
    offset = await publish_control(config, close)
    amend = Amend(**request(), original=event("e", 1), origin=Origin("t", 0, 0, 0), replacement=event("e", 2))
    await publish_control(config, amend)
    await publish_control(config, close)  # the sender was not sure
    controls = Controls(config)
    controls.start()
    try:
        await controls.ready()
        assert [each for _, each in controls.requests_from(offset)] == [close, amend]
        assert [each for _, each in controls.requests_from(offset + 1)] == [amend]

        # Receipts count once their transaction is committed, and not before.
        waiting = asyncio.ensure_future(wait_for_receipts(config, close.id, partitions_concerned(config, close), 30))
        producer = AIOKafkaProducer(bootstrap_servers=stack.kafka, transactional_id=f"{config.kafka.topic_prefix}t")
        await producer.start()
        topic = Topics.of(config.kafka).control
        await producer.begin_transaction()
        for number in (0, 1):
            await producer.send_and_wait(topic, encode_control(receipt(close.id, number)), partition=0)
        await asyncio.sleep(1.5)
        assert controls.receipts(close.id) == {}
        assert not waiting.done()
        await producer.commit_transaction()
        await producer.begin_transaction()
        await producer.send_and_wait(topic, encode_control(receipt(amend.id, 0)), partition=0)
        await producer.abort_transaction()
        await producer.stop()
        assert await waiting == {0: receipt(close.id, 0), 1: receipt(close.id, 1)}
        assert await wait_for_receipts(config, amend.id, [0], 2) == {}
    finally:
        await controls.stop()
    assert sorted((await load_controls(config)).receipts(close.id)) == [0, 1]


def receipt(control_id: str, partition: int) -> Receipt:
    return Receipt(control_id=control_id, partition=partition, outcome="done", next_offsets={}, book="", closed_through=0, revision=1, at_ns=1)


async def test_without_kafka_the_error_is_one_of_kafka(stack: Stack) -> None:
    config = Config.model_validate({"kafka": {"bootstrap": "127.0.0.1:1"}})
    with pytest.raises(KafkaError):
        await load_controls(config)
    with pytest.raises(KafkaError):
        await find_event(config, "a", "s", "e")
