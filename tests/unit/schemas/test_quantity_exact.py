"""Quantities are the digits that were sent."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.quantity import parse_quantity, quantity_of_json


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal(-10) ** 29, max_value=Decimal(10) ** 29, places=28))
def test_any_decimal_text_keeps_its_value(value: Decimal) -> None:
    text = str(value)
    assert parse_quantity(text) == Decimal(text)
    assert quantity_of_json(text.encode()) == Decimal(text)
    assert quantity_of_json(f'"{text}"'.encode()) == Decimal(text)


@pytest.mark.parametrize("text", ["0.1", "9.052E-7", "2.3198314011096954e-05", "1e60", "1" * 60, "0." + "0" * 59 + "1", "1" + "0" * 60, "-5"])
def test_accepted(text: str) -> None:
    assert parse_quantity(text) == Decimal(text)


@pytest.mark.parametrize("text", ["-0", "-0.000", "0e5", "0.0E-9"])
def test_zero_has_one_form(text: str) -> None:
    assert str(parse_quantity(text)) == "0"


REFUSED = [
    "", " ", "NaN", "-NaN", "sNaN", "Infinity", "-inf", "1e400", "1e-400", "1e61", "1e999999999999", "1" * 61, "0." + "0" * 60 + "1",
    "0x10", "1_000", "1,000", " 1", "1 ", "1\n", "+1", ".5", "5.", "007", "٣", "１", "1e", "--1", "9" * 500,
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    for _ in range(2):  # the cache must not let the second one in
        with pytest.raises(Rejection) as caught:
            parse_quantity(text)
        assert caught.value.reason is Reason.BAD_QUANTITY
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"true", b"null", b"[1]", b'{"a":1}', b'""', b'"', b"", b"\xff"])
def test_json_that_is_no_number(raw: bytes) -> None:
    with pytest.raises(Rejection) as caught:
        quantity_of_json(raw)
    assert caught.value.reason is Reason.BAD_QUANTITY


def test_a_tighter_bound_does_not_meet_the_cache() -> None:
    assert parse_quantity("123456") == 123456
    with pytest.raises(Rejection):
        parse_quantity("123456", max_digits=5)
