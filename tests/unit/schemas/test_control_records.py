"""Control records survive Kafka both ways, and nothing that is not one is taken for one."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.schemas.control import (
    Amend,
    BackfillClose,
    BackfillOpen,
    BackfillRevert,
    Close,
    ControlRecord,
    Origin,
    Receipt,
    Rerate,
    decode_control,
    encode_control,
    month_number,
    month_text,
)
from ratemill.schemas.errors import BadInput
from ratemill.schemas.usage_event import UsageEvent, identify

WHO: dict[str, Any] = {"id": uuid.UUID(int=7).hex, "author": "Ada", "reason": "wrong meter", "at_ns": 1}
EVENT = UsageEvent("a", "s", "e-1", "k", 5, Decimal("1.50"), "GB", dimensions='{"x":"y"}', backfill="b")
PLACE = Origin("usage.raw.aws", 3, 42, 1)
RECEIPT = Receipt(
    control_id=WHO["id"], partition=2, outcome="closed through 2026-07", next_offsets={"usage.events": 9}, book="d", closed_through=24318,
    revision=5, at_ns=6, counts={"line_items": 3},
)  # fmt: skip
RECORDS: list[ControlRecord] = [
    Close(**WHO, period="2026-07"),
    Amend(**WHO, original=EVENT, origin=PLACE, replacement=None),
    Amend(**WHO, original=EVENT, origin=PLACE, replacement=UsageEvent("a", "s", "e-1", "k", 5, Decimal("-3E+2"), "GB")),
    BackfillOpen(**WHO, name="january", from_ns=-5, to_ns=5),
    BackfillClose(**WHO, name="january"),
    BackfillRevert(**WHO, name="january"),
    Rerate(**WHO),
    Rerate(**WHO, account="a", sku="k", period="2026-12"),
    RECEIPT,
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_round_trip(record: ControlRecord) -> None:
    assert decode_control(encode_control(record)) == record
    assert type(decode_control(encode_control(record))) is type(record)


@settings(max_examples=50)
@given(st.decimals(-(10**30), 10**30, places=20), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_an_amended_event_keeps_every_digit_and_character(quantity: Decimal, text: str) -> None:
    text = f"x{text[:1_000]}"
    event = UsageEvent(text, text, text, text, -(2**63), quantity, text, dimensions='{"a":"b"}')
    record = Amend(**WHO, original=event, origin=PLACE, replacement=None)
    again = decode_control(encode_control(record))
    assert again == record
    assert isinstance(again, Amend)
    assert str(again.original.quantity) == str(quantity)
    assert identify(again.original) == identify(event)


def test_the_wire_form_is_stable() -> None:
    assert json.loads(encode_control(RECORDS[0])) == {"control": "close", **WHO, "period": "2026-07"}
    assert json.loads(encode_control(RECORDS[1]))["original"][:7] == ["a", "s", "e-1", "k", 5, "1.50", "GB"]
    assert [json.loads(encode_control(record))["control"] for record in RECORDS] == [
        "close", "amend", "amend", "backfill_open", "backfill_close", "backfill_revert", "rerate", "rerate", "receipt",
    ]  # fmt: skip


def changed(record: ControlRecord, **fields: Any) -> bytes:
    return json.dumps({**json.loads(encode_control(record)), **fields}).encode()


EVENT_WIRE = json.loads(encode_control(RECORDS[1]))["original"]
WRONG = {
    "not json": b"close",
    "not utf-8": b'{"control":"close\xff"}',
    "empty": b"",
    "no kind": b"{}",
    "unknown kind": changed(RECORDS[0], control="open"),
    "a field too many, which may change what is meant": changed(RECORDS[0], unless="x"),
    "no reason": changed(RECORDS[0], reason=" "),
    "no author": changed(RECORDS[0], author=""),
    "two lines": changed(RECORDS[0], reason="a\nb"),
    "a reason without end": changed(RECORDS[0], reason="a" * 2_000),
    "bad id": changed(RECORDS[0], id="7"),
    "no month": changed(RECORDS[0], period="2026-13"),
    "a day": changed(RECORDS[0], period="2026-07-01"),
    "another month notation": changed(RECORDS[0], period="2026-7"),
    "digits of another script": changed(RECORDS[0], period="٢٠٢٦-07"),
    "time as text": changed(RECORDS[0], at_ns="1"),
    "NaN": changed(RECORDS[1], original=[*EVENT_WIRE[:5], "NaN", *EVENT_WIRE[6:]]),
    "more digits than memory": changed(RECORDS[1], original=[*EVENT_WIRE[:5], "1E+99999999", *EVENT_WIRE[6:]]),
    "time in no range": changed(RECORDS[1], original=[*EVENT_WIRE[:4], 2**64 - 1, *EVENT_WIRE[5:]]),
    "dimensions in another order": changed(RECORDS[1], original=[*EVENT_WIRE[:10], '{"b":"1","a":"2"}', *EVENT_WIRE[11:]]),
    "dimensions that are none": changed(RECORDS[1], original=[*EVENT_WIRE[:10], "x", *EVENT_WIRE[11:]]),
    "another event": changed(RECORDS[1], replacement=["b", *EVENT_WIRE[1:]]),
    "no original": changed(RECORDS[1], original=None),
    "an account that no event has": changed(RECORDS[1], original=["a\0", *EVENT_WIRE[1:]]),
    "ends before it begins": changed(RECORDS[3], to_ns=-5),
    "no name": changed(RECORDS[3], name=""),
    "no month to rerate": changed(RECORDS[6], period="july"),
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_a_control_record_is_refused_in_one_line(value: bytes) -> None:
    with pytest.raises(BadInput) as refused:
        decode_control(value)
    assert str(refused.value).startswith("not a control record: ")
    assert len(str(refused.value).splitlines()) == 1


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.builds(lambda at, byte: encode_control(RECORDS[2])[:at] + byte, st.integers(0, 400), st.binary(max_size=3)))
def test_no_bytes_raise_anything_else(value: bytes) -> None:
    try:
        decode_control(value)
    except BadInput:
        pass


def test_a_later_version_may_say_more_in_a_receipt() -> None:
    assert decode_control(changed(RECEIPT, more=1)) == RECEIPT


def test_a_wrong_request_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="reason is empty"):
        Close(**WHO | {"reason": ""}, period="2026-07")


def test_months() -> None:
    assert month_number("2026-07") == 12 * 2026 + 6
    assert [month_text(month_number(text)) for text in ("2000-01", "2026-12", "2199-12")] == ["2000-01", "2026-12", "2199-12"]
