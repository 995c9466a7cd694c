"""A dead letter keeps the raw bytes and survives Kafka both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.schemas.dead_letter import DeadLetter, from_kafka, to_kafka
from ratemill.schemas.errors import BadInput, Reason

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LETTERS = st.builds(
    DeadLetter,
    reason=st.sampled_from(Reason),
    detail=TEXT,
    topic=TEXT,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    index=st.integers(-1, 10_000),
    value=st.none() | st.binary(),
    rejected_at=st.integers(-(2**63), 2**63 - 1),
    format=TEXT,
    key=st.none() | st.binary(),
    headers=st.lists(st.tuples(TEXT, st.binary())).map(tuple),
)


@given(LETTERS)
def test_round_trip(letter: DeadLetter) -> None:
    key, value, headers = to_kafka(letter)
    assert from_kafka(key, value, headers) == letter
    assert value == (letter.value or b"")


def test_names_of_headers_are_stable() -> None:
    letter = DeadLetter(
        Reason.BAD_TIME, "no zone", "usage.raw.aws", 3, 42, 1, None, 7, "aws-cur", b"k", (("ratemill-backfill", b"x"), ("h", b"1"), ("h", b"2"))
    )
    key, value, headers = to_kafka(letter)
    assert key == b"usage.raw.aws/3/42/1"
    assert value == b""
    assert headers == [
        ("ratemill-reason", b"bad_time"),
        ("ratemill-detail", b"no zone"),
        ("ratemill-format", b"aws-cur"),
        ("ratemill-rejected-at", b"7"),
        ("ratemill-origin-topic", b"usage.raw.aws"),
        ("ratemill-origin-partition", b"3"),
        ("ratemill-origin-offset", b"42"),
        ("ratemill-origin-index", b"1"),
        ("ratemill-key", b"k"),
        ("ratemill-null", b"1"),
        ("ratemill-original-ratemill-backfill", b"x"),
        ("ratemill-original-h", b"1"),
        ("ratemill-original-h", b"2"),
    ]


@given(st.none() | st.binary(), st.none() | st.binary(), st.lists(st.tuples(TEXT, st.binary())))
def test_garbage_is_bad_input(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(BadInput):
        from_kafka(key, value, headers)


@pytest.mark.parametrize(
    "change", [("ratemill-reason", b"none"), ("ratemill-origin-offset", b"x"), ("ratemill-detail", b"\xff"), ("ratemill-null", b"1")]
)
def test_a_damaged_header_is_bad_input(change: tuple[str, bytes]) -> None:
    _, value, headers = to_kafka(DeadLetter(Reason.CONFLICT, "d", "t", 0, 0, 0, b"v", 1))
    with pytest.raises(BadInput):
        from_kafka(None, value, [*(h for h in headers if h[0] != change[0]), change])
    with pytest.raises(BadInput):
        from_kafka(None, value, [*headers, headers[0]])


def test_half_a_surrogate_in_a_detail_does_not_stop_the_letter() -> None:
    _, _, headers = to_kafka(DeadLetter(Reason.CONFLICT, "\ud800", "t", 0, 0, 0, b"v", 1))
    assert ("ratemill-detail", b"\\ud800") in headers
