"""What an event hub removed before it was read is told; tests/integration/test_collect_event_hubs.py has the rest, with a real endpoint."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from ratemill.collectors.event_hubs import _Relay


class Record(NamedTuple):
    partition: int
    offset: int
    value: bytes


class Hub:
    """A consumer of two partitions: of the first one, what the group has not read begins before what there is."""

    def __init__(self, committed: dict[int, int | None], begin: int = 7, end: int = 9) -> None:
        self._tps = {TopicPartition("hub", number) for number in committed}
        self._committed, self._begin, self._end, self._read = committed, begin, end, False

    def assignment(self) -> set[TopicPartition]:
        return set(self._tps)

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Record]]:
        first, self._read = not self._read, True
        return {tp: [Record(tp.partition, at, b"{}") for at in range(self._begin, self._end)] for tp in self._tps} if first else {}

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self._begin)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self._end)

    async def committed(self, tp: TopicPartition) -> int | None:
        return self._committed[tp.partition]

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self._committed.update({tp.partition: offset for tp, offset in offsets.items()})

    async def position(self, tp: TopicPartition) -> int:
        return self._end if self._read else self._begin

    def highwater(self, tp: TopicPartition) -> int:
        return self._end


class Topic:
    """A producer."""

    async def send(self, topic: str, value: bytes, headers: Any) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def lost(hub: Hub) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    relay = _Relay(hub, Topic(), "hub", "raw", [], lambda *_: None, lambda *said: found.append(said), lambda _: None)
    asyncio.run(relay.run(to_end=True))
    return found


def test_records_that_were_removed_before_they_were_read_are_told() -> None:
    hub = Hub({0: 3, 1: 8})
    assert lost(hub) == [(0, 4)]
    assert lost(hub) == [], "it goes on behind them"
    assert lost(Hub({0: None, 1: 7})) == [], "a group that never read misses nothing, and none is missing where it goes on"


class Shared(Hub):
    """Another process joins the group while a batch is carried over, and is given the first partition."""

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        gone = TopicPartition("hub", 0)
        self._tps.discard(gone)
        if gone in offsets:
            raise IllegalStateError(f"Partition {gone} is not assigned")
        await super().commit(offsets)

    async def position(self, tp: TopicPartition) -> int:
        if tp not in self._tps:
            raise IllegalStateError(f"Partition {tp} is not assigned")
        return await super().position(tp)

    def highwater(self, tp: TopicPartition) -> int:
        if tp not in self._tps:
            raise IllegalStateError(f"Partition {tp} is not assigned")
        return super().highwater(tp)


def test_a_process_that_joins_the_group_does_not_end_the_others() -> None:
    """Its records are carried over once more by whoever has them now, and count once."""
    assert lost(Shared({0: 7, 1: 7})) == []
