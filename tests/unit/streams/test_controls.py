"""What a worker knows of the control topic: requests in log order, each once, and receipts beside them. No Kafka here."""

from __future__ import annotations

import asyncio
import uuid
from decimal import Decimal
from typing import Any

from ratemill.schemas.control import Amend, Close, Origin, Receipt, Rerate, encode_control
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.config import Config
from ratemill.streams.control_topic import Controls, partitions_concerned
from ratemill.streams.topics import partition_of


def who(number: int) -> dict[str, Any]:
    return {"id": uuid.UUID(int=number).hex, "author": "Ada", "reason": "because", "at_ns": number}


def receipt(number: int, partition: int, outcome: str = "done") -> Receipt:
    return Receipt(
        control_id=who(number)["id"], partition=partition, outcome=outcome, next_offsets={}, book="", closed_through=0, revision=1, at_ns=1
    )


def with_records(*values: tuple[int, bytes | None]) -> Controls:
    controls = Controls(Config())
    for offset, value in values:
        controls.take(offset, value)
    return controls


FIRST, SECOND, THIRD = Close(**who(1), period="2026-05"), Rerate(**who(2)), Close(**who(3), period="2026-06")
LOG = (
    (0, encode_control(FIRST)),
    (2, b"not a control record"),
    (3, encode_control(receipt(1, 0))),
    (4, None),
    (5, encode_control(SECOND)),
    (6, encode_control(receipt(1, 3))),
    (9, encode_control(THIRD)),
)


def test_requests_in_log_order_from_an_offset() -> None:
    controls = with_records(*LOG)
    assert controls.requests == [(0, FIRST), (5, SECOND), (9, THIRD)]
    assert controls.requests_from(0) == controls.requests
    assert controls.requests_from(1) == [(5, SECOND), (9, THIRD)]
    assert controls.requests_from(5) == [(5, SECOND), (9, THIRD)]
    assert controls.requests_from(10) == []
    assert controls.request(SECOND.id) == SECOND
    assert controls.request("other") is None


def test_a_request_sent_twice_is_one_request() -> None:
    again = Close(**who(1), period="2027-01")
    controls = with_records(*LOG, (10, encode_control(again)), (11, encode_control(FIRST)))
    assert controls.requests == [(0, FIRST), (5, SECOND), (9, THIRD)]
    assert controls.requests_from(10) == []


def test_receipts_by_partition() -> None:
    controls = with_records(*LOG)
    assert list(controls.receipts(FIRST.id)) == [0, 3]
    assert controls.receipt(FIRST.id, 3) == receipt(1, 3)
    assert controls.receipt(FIRST.id, 1) is None
    assert controls.receipts(SECOND.id) == {}


async def test_who_waits_hears_of_the_next_record() -> None:
    controls = with_records(*LOG)
    changed = controls.changed
    assert not changed.is_set()
    controls.take(10, b"not a control record")
    assert not changed.is_set()
    controls.take(11, encode_control(receipt(2, 0)))
    await asyncio.wait_for(changed.wait(), 1)
    assert not controls.changed.is_set()  # the next one is another event


def test_an_account_lives_in_one_partition() -> None:
    config = Config.model_validate({"kafka": {"partitions": 7}})
    event = UsageEvent("acct-1", "s", "e", "k", 0, Decimal(1), "GB")
    home = [partition_of("acct-1", 7)]
    assert partitions_concerned(config, Amend(**who(4), original=event, origin=Origin("t", 0, 0, 0), replacement=None)) == home
    assert partitions_concerned(config, Rerate(**who(4), account="acct-1")) == home
    assert partitions_concerned(config, Rerate(**who(4), sku="k")) == list(range(7))
    assert partitions_concerned(config, FIRST) == list(range(7))
