"""When the log is read again from far back, records wait for the request that once took effect before them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from ratemill.pricing.book import EMPTY_BOOK
from ratemill.schemas.control import BackfillOpen, Receipt, encode_control
from ratemill.streams.config import Config
from ratemill.streams.control_topic import Controls
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.state import PartitionState, Settings
from ratemill.streams.core.store import MemoryStore
from ratemill.streams.lanes import held
from ratemill.streams.lanes.answers import Answers
from ratemill.streams.lanes.base import Batch
from ratemill.streams.ledger import Unsettled
from ratemill.streams.progress import Progress

A, B = TopicPartition("a", 0), TopicPartition("b", 0)
OPEN = BackfillOpen(id="1" * 32, author="Ada", reason="because", at_ns=1, name="gap", from_ns=0, to_ns=1)


class Lane:
    """As much of a rate lane as answering needs."""

    def __init__(self) -> None:
        self.number, self.name, self.progress = 0, "rate-0", Progress("rate-0")
        self.context = SimpleNamespace(config=Config(), clock_ns=lambda: 1)
        self.books = SimpleNamespace(latest=None)
        self.next_offsets = {A: 0, B: 0}
        self.state = PartitionState(MemoryStore(), Rates(EMPTY_BOOK, 3_600), Settings())
        self.sealed: list[Receipt | None] = []
        self.back: list[Batch] = []

    async def seal(self, cause: str, receipt: Receipt | None = None) -> None:
        self.sealed.append(receipt)

    def put_back(self, batches: list[Batch]) -> None:
        self.back += batches


def batch(tp: TopicPartition, *offsets: int) -> Batch:
    return Batch(1, 1, tp, [SimpleNamespace(offset=offset, key=None, value=b"12", headers=()) for offset in offsets])  # type: ignore[misc]


def offsets(given: Batch) -> list[int]:
    return [record.offset for record in given.records]


@pytest.fixture
def replay() -> tuple[Lane, Answers, Any]:
    """A lane without any progress; the request took effect before offset 10 of `a` and 3 of `b` once."""
    lane, controls = Lane(), Controls(Config())
    controls.take(0, encode_control(OPEN))
    receipt = Receipt(
        control_id=OPEN.id, partition=0, outcome="opened", next_offsets={"a": 10, "b": 3, "gone": 7}, book="", closed_through=0, revision=1, at_ns=1
    )
    controls.take(1, encode_control(receipt))
    answers = Answers(lane, controls)  # type: ignore[arg-type]

    def take(given: Batch) -> list[int]:
        taken = answers.admit(given)
        if taken.records:
            lane.next_offsets[given.tp] = taken.records[-1].offset + 1
        return offsets(taken)

    return lane, answers, take


async def test_records_behind_the_place_of_a_request_come_after_it(replay: tuple[Lane, Answers, Any]) -> None:
    lane, answers, take = replay
    assert take(batch(A, 7, 8, 9, 10, 11)) == [7, 8, 9]
    assert not await answers.next(), "of the other source not everything has come that came before"
    assert take(batch(A, 12, 13)) == []
    assert take(batch(B, 0, 1, 2)) == [0, 1, 2]
    assert await answers.next()
    assert [receipt.next_offsets for receipt in lane.sealed if receipt] == [{"a": 10, "b": 3}]
    assert [(each.tp, offsets(each)) for each in lane.back] == [(A, [10, 11]), (A, [12, 13])]
    assert take(batch(A, 10, 11)) == [10, 11], "it has taken effect"
    assert not await answers.next()


async def test_what_the_log_no_longer_holds_is_not_waited_for(replay: tuple[Lane, Answers, Any]) -> None:
    lane, answers, take = replay
    assert take(batch(A, 50, 51)) == []
    assert take(batch(B, 3)) == []
    assert await answers.next()
    assert lane.next_offsets == {A: 10, B: 3}
    assert [offsets(each) for each in lane.back] == [[50, 51], [3]]


async def test_what_does_not_fit_is_read_again(replay: tuple[Lane, Answers, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lane, answers, take = replay
    monkeypatch.setattr(held, "QUEUED_RECORDS", 4)
    assert take(batch(A, 9, 10, 11)) == [9]
    assert take(batch(A, 12, 13, 14)) == []
    assert take(batch(B, 2, 3)) == [2]
    with pytest.raises(Unsettled, match="a request has taken effect; reading on from there"):
        await answers.next()
    assert len(lane.sealed) == 1, "the request is done before the lane starts again"
    assert lane.back == []
