"""Factors between units are exact fractions; what is no finite decimal is rounded once, half even."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.metering.exact import Factor, factor_of
from ratemill.metering.units import UnknownConversion, conversion
from ratemill.pricing.money import money

KNOWN = {
    ("GiB", "GB"): Fraction("1.073741824"),
    ("MiB", "GB"): Fraction("0.001048576"),
    ("B", "GiB"): Fraction(1, 2**30),
    ("KB", "kB"): 1,
    ("Gbit", "GB"): Fraction(1, 8),
    ("Mibit", "MiB"): Fraction(1, 8),
    ("Bytes", "KB"): Fraction(1, 1000),
    ("s", "h"): Fraction(1, 3600),
    ("Hours", "min"): 60,
    ("d", "h"): 24,
    ("ms", "s"): Fraction(1, 1000),
    ("Requests", "1K Requests"): Fraction(1, 1000),
    ("1M Requests", "1K Requests"): 1000,
    ("Million", "Thousand"): 1000,
    ("Count", "1B"): Fraction(1, 10**9),
    ("MiB-h", "GB-Hours"): Fraction("0.001048576"),
    ("GB-s", "GB-h"): Fraction(1, 3600),
    ("1K vCPU-h", "vCPU-h"): 1000,
    ("widgets", "widgets"): 1,
    ("GB-Mo", "GB-Mo"): 1,
}


@pytest.mark.parametrize(("units", "expected"), KNOWN.items())
def test_a_factor(units: tuple[str, str], expected: Fraction) -> None:
    assert conversion(*units) == expected
    assert conversion(*reversed(units)) == 1 / Fraction(expected)


UNKNOWN = {
    ("GB", "h"): "no fixed factor leads from GB to h; state the one you mean",
    ("GB", "GB-h"): "no fixed factor",
    ("widgets", "boxes"): "no fixed factor leads from widgets to boxes",
    ("Requests", "Messages"): "no fixed factor",
    ("GB-Mo", "GB-h"): "Mo is not a fixed time, because months and years differ in length",
    ("Month", "h"): "Month is not a fixed time",
    ("gib", "GB"): "the unit gib is not known; did you mean GiB?",
    ("GB", "Gib"): "the unit Gib is not known; did you mean GiB?",
    ("GB", "GBs"): "the unit GBs is not known; did you mean GB?",
    ("hrs", "h"): "no fixed factor leads from hrs to h",
}


@pytest.mark.parametrize(("units", "expected"), UNKNOWN.items())
def test_no_factor(units: tuple[str, str], expected: str) -> None:
    with pytest.raises(UnknownConversion) as caught:
        conversion(*units)
    assert expected in str(caught.value)


def test_a_gib_is_not_a_gb() -> None:
    assert conversion("GiB", "GB") != 1


quantities = st.decimals(-(10**12), 10**12, places=9)


@given(quantities, st.integers(1, 10**9), st.integers(1, 10**9), st.integers(0, 30))
def test_a_product_is_exact_or_rounded_once(value: Decimal, numerator: int, denominator: int, digits: int) -> None:
    factor = factor_of(numerator, denominator, digits)
    exact = Fraction(value) * Fraction(numerator, denominator)
    with localcontext(prec=3):  # the context of the caller does not matter
        found = factor.times(value)
    if factor.finite:
        assert Fraction(found) == exact
    else:
        assert Fraction(found) == Fraction(round(exact * 10**digits), 10**digits)  # round() of a Fraction is half even


@pytest.mark.parametrize(
    ("value", "divisor", "digits", "expected"),
    # Ties, and values so near to a tie that a first rounding would make one.
    [("15", 6, 0, "2"), ("21", 6, 0, "4"), ("7.5", 3, 0, "2"), ("1", 3, 3, "0.333"), (f"7.5{'0' * 48}1", 3, 0, "3")],
)
def test_ties(value: str, divisor: int, digits: int, expected: str) -> None:
    assert factor_of(1, divisor, digits).times(money(value)) == money(expected)


def test_factors_are_equal_when_they_do_the_same() -> None:
    assert Factor(Fraction(1, 8), 3) == Factor(Fraction(1, 8)) != Factor(Fraction(1, 16))
    assert Factor(Fraction(1, 3), 3) != Factor(Fraction(1, 3), 4)
    assert hash(Factor(Fraction(1, 8), 3)) == hash(Factor(Fraction(1, 8)))
