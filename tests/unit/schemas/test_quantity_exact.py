"""Quantities are the digits that were sent."""

from __future__ import annotations

from decimal import Decimal, Inexact, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.quantity import difference, multiple, parse_quantity, plain_quantity, quantity_of_json, total


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


DIGITS = st.from_regex(r"-?(0|[1-9][0-9]{0,58})(\.[0-9]{1,58})?(e-?[0-9])?", fullmatch=True)


@given(DIGITS, DIGITS, st.integers(0, 86_400))
def test_sums_and_multiples_lose_no_digit_whatever_the_context_of_the_caller(one: str, other: str, times: int) -> None:
    try:
        a, b = parse_quantity(one), parse_quantity(other)
    except Rejection:
        return
    with localcontext(prec=3):
        assert Fraction(total(a, b)) == Fraction(a) + Fraction(b)
        assert Fraction(difference(a, b)) == Fraction(a) - Fraction(b)
        assert Fraction(multiple(a, times)) == Fraction(a) * times
        assert Fraction(plain_quantity(total(a, b))) == Fraction(a) + Fraction(b)
        assert (plain_quantity(a) == plain_quantity(b)) == (a == b), "equal quantities have equal texts, and others have not"
        assert plain_quantity(difference(a, a)) == "0"


def test_a_sum_that_cannot_be_exact_raises() -> None:
    with pytest.raises(Inexact):
        total(Decimal(10) ** 700, Decimal(1))
