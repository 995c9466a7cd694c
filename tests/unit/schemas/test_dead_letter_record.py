"""A dead letter keeps the raw bytes and survives Kafka both ways."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.schemas.dead_letter import CUT_TO, DeadLetter, from_kafka, held_once, to_kafka
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


def letter(offset: int, index: int, value: bytes | None, **more: Any) -> DeadLetter:
    return DeadLetter(Reason.BAD_TIME, "d", "t", 0, offset, index, value, 1, **more)


def test_the_bytes_of_a_record_are_kept_once() -> None:
    """In the letter of its first rejected event; events that were told in the plain form keep their own."""
    one, other = b"one" * 10, b"other" * 10
    first = letter(7, 0, one, key=b"k", headers=(("h", b"v"),))
    made = [letter(8, 2, other), first, letter(8, 5, other), letter(7, 1, one, key=b"k"), letter(7, 2, b"plain")]
    kept = held_once(made)
    assert [(each.offset, each.index, each.value, each.held_by) for each in kept] == [
        (7, 0, one, None), (7, 1, b"", 0), (7, 2, b"plain", None), (8, 2, other, None), (8, 5, b"", 2),
    ]  # fmt: skip
    assert (kept[0].key, kept[0].headers) == (b"k", (("h", b"v"),))
    assert (kept[1].key, kept[1].headers) == (None, ())
    assert [from_kafka(*to_kafka(each)) for each in kept] == kept


def test_null_stays_null() -> None:
    assert held_once([letter(1, -1, None)]) == [letter(1, -1, None)]


@pytest.mark.parametrize(
    ("large", "size"),
    [
        (letter(1, -1, b"x" * ((16 << 20) + 1)), (16 << 20) + 1),
        (letter(1, -1, b"x", key=b"k" * (1 << 19)), (1 << 19) + 1),
        (letter(1, -1, b"x", headers=(("h", b"v"),) * 20_000), 20_000 * (len("ratemill-original-h") + 1) + 1),
    ],
)
def test_a_letter_fits_into_kafka(large: DeadLetter, size: int) -> None:
    """Beyond what can count under any configuration, the first bytes are kept, and how many there were."""
    (kept,) = held_once([large])
    assert (kept.cut, kept.value, kept.key, kept.headers) == (size, (large.value or b"")[:CUT_TO], None, ())
    key, value, headers = to_kafka(kept)
    assert from_kafka(key, value, headers) == kept
    assert len(value) + sum(len(name) + len(text) for name, text in headers) < 17 << 20
    assert held_once([letter(1, -1, b"x" * (16 << 20))])[0].cut == 0
