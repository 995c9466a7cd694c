"""A followed topic when Kafka goes away in between: each record is taken once. No Kafka here."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from ratemill.schemas.errors import Unavailable
from ratemill.streams import following
from ratemill.streams.config import Config
from ratemill.streams.following import Follower


class Consumer:
    """A consumer of a topic with offsets 0 to 9 that fails behind every third record, and once before any."""

    made = 0

    def __init__(self, **settings: Any) -> None:
        Consumer.made += 1
        assert settings["isolation_level"] == "read_committed"
        self._fails, self._at = Consumer.made == 1, 0

    async def start(self) -> None:
        if self._fails:
            raise OSError("no broker")

    async def stop(self) -> None:
        pass

    def assign(self, tps: list[TopicPartition]) -> None:
        assert tps == [TopicPartition("topic", 0)]

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 10)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._at

    async def getmany(self, tp: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        if self._fails:
            raise OSError("the broker is gone")
        self._fails = self._at + 3 < 10
        await asyncio.sleep(0.001)
        offsets = range(self._at, min(self._at + 3, 10))
        self._at = offsets.stop
        return {tp: [SimpleNamespace(offset=offset) for offset in offsets]} if offsets else {}


class Listener(Follower):
    def __init__(self) -> None:
        super().__init__(Config(), "topic", "test")
        self.offsets: list[int] = []

    def record(self, record: Any) -> None:
        self.offsets.append(record.offset)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    Consumer.made = 0
    monkeypatch.setattr(following, "AIOKafkaConsumer", Consumer)
    monkeypatch.setattr(following, "RETRY_S", 0.001)
    return Listener()


async def test_each_record_is_taken_once_whatever_fails(listener: Listener) -> None:
    listener.start()
    await asyncio.wait_for(listener.ready(), 5)
    await listener.stop()
    assert listener.offsets == list(range(10))
    assert Consumer.made == 5, "one that never started, and one more behind each of the first three batches"


async def test_who_waits_for_a_topic_that_cannot_be_read_is_told(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "READY_S", 0.02)
    with pytest.raises(Unavailable, match="topic topic could not be read to its end"):
        await listener.ready()
