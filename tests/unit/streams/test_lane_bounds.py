"""What a lane may hold is bounded: in records, in bytes of whatever kind, and in what waits for a commit."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from ratemill.streams.config import Config
from ratemill.streams.lanes.base import BEHIND_EVENTS, QUEUED_RECORDS, RECORD_BYTES, SOONEST_S, TAKEN_BYTES, Batch, Lane, size_of
from ratemill.streams.lanes.index import FLUSH_RECORDS, IndexLane

TP = TopicPartition("t", 0)


def record(value: bytes | None = b"v", key: bytes | None = None, headers: Any = ()) -> Any:
    return SimpleNamespace(offset=0, timestamp=0, value=value, key=key, headers=headers)


def lane() -> Lane:
    """A lane that owns its partition and works on nothing."""
    made = Lane(SimpleNamespace(config=Config(), held=None), "rate-0", [TP])  # type: ignore[arg-type]
    made._ready = True
    return made


def put(to: Lane, *records: Any) -> None:
    to.put(Batch(to.incarnation, to.serial(TP), TP, records))


async def test_no_more_is_fetched_beyond_a_number_of_records() -> None:
    its = lane()
    put(its, *[record()] * (QUEUED_RECORDS - 1))
    assert its.room()
    put(its, record())
    assert not its.room()
    await its._next(1)
    assert its.room()


@pytest.mark.parametrize("part", ["value", "key", "headers"])
async def test_no_more_is_fetched_beyond_a_number_of_bytes(part: str) -> None:
    """Of values, keys and headers: a record may hold as much in one as in the other."""
    content = b"x" * (1 << 20)
    large = record(**{part: [("h", content)] if part == "headers" else content})
    its, put_ = lane(), 0
    its.share = 7 << 20
    while its.room():
        put(its, large)
        put_ += 1
    assert put_ == 7


async def test_small_records_are_bounded_by_the_memory_that_they_take() -> None:
    """20,000 records of one byte hold 20 KB, and take 5 MB."""
    its = lane()
    its.share = 1 << 20
    put(its, *[record()] * ((1 << 20) // RECORD_BYTES))
    assert not its.room()


async def test_a_lane_that_is_to_end_is_fetched_for_no_more() -> None:
    its = lane()
    assert its.room()
    its._ending.set()
    assert not its.room()


async def test_a_commit_is_due_by_number_by_bytes_and_by_time() -> None:
    its = lane()
    its._pending_since = time.monotonic()
    its.pending = 1
    assert not its._due()
    its._taken_bytes = TAKEN_BYTES
    assert its._due()
    its._taken_bytes = 0
    its.pending = its.context.config.rating.commit_events
    assert its._due()
    its.pending = 1
    its._pending_since -= its.context.config.rating.commit_interval_s
    assert its._due()


async def test_a_lane_that_is_not_behind_commits_sooner_as_far_as_commits_leave_time() -> None:
    its = lane()
    rating = its.context.config.rating
    its.pending = its._taken = 1
    its.context.held = lambda: 12  # type: ignore[misc,assignment]
    assert its._interval() == rating.commit_interval_s  # nothing is known of how long a commit takes
    its._commit_s = 0.15
    assert its._interval() == pytest.approx(0.6)  # 12 lanes, three commits at a time
    its._commit_s = 0.001
    assert its._interval() == SOONEST_S
    its._commit_s = 5.0
    assert its._interval() == rating.commit_interval_s


async def test_a_lane_far_behind_does_not_commit_sooner() -> None:
    its = lane()
    rating = its.context.config.rating
    its.pending = its._taken = 1
    its.context.held, its._commit_s = lambda: 1, 0.0  # type: ignore[misc,assignment]
    put(its, record())
    assert its._interval() == SOONEST_S
    its.lag = BEHIND_EVENTS
    assert its._interval() == rating.catch_up_interval_s


def index_lane() -> IndexLane:
    made = IndexLane(
        SimpleNamespace(config=Config(), held=None, topics=SimpleNamespace(progress="p"), partitions={"p": 1}), TP, None  # type: ignore[arg-type]
    )
    made._ready = True
    return made


async def test_line_items_that_wait_are_written_together_up_to_a_bound() -> None:
    its = index_lane()
    records = [record(str(number).encode()) for number in range(FLUSH_RECORDS + 3_000)]
    for at in range(0, len(records), 1_000):
        put(its, *records[at : at + 1_000])
    first, second = await its._next(1), await its._next(1)
    assert first is not None
    assert second is not None
    assert [*first.records, *second.records] == records  # in their order, none twice
    assert len(first.records) == FLUSH_RECORDS
    assert its.queued == 0


async def test_what_is_being_written_takes_room_too() -> None:
    its = index_lane()
    put(its, *[record()] * FLUSH_RECORDS)
    await its._next(1)
    put(its, *[record()] * (QUEUED_RECORDS - FLUSH_RECORDS - 1))
    assert its.room()
    put(its, record())
    assert not its.room()


async def test_a_lost_batch_is_not_written_with_those_before_it() -> None:
    its = index_lane()
    put(its, record())
    its._lose(TP)
    first, lost = await its._next(1), await its._next(1)
    assert first is not None
    assert len(first.records) == 1
    assert lost is not None
    assert lost.incarnation < 0


def test_null_headers_have_no_size() -> None:
    assert size_of(Batch(1, 1, TP, [record(None, None, [("name", None)])])) == len("name") + RECORD_BYTES
