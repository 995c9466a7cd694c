"""Limb sums recombine to the exact total, even when each limb is added in double as Elasticsearch does."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.sinks.limbs import FRACTION_DIGITS, LIMBS, MAX_ADDENDS, WHOLE_DIGITS, BadAmount, exact_integer, join, split

_digits = st.text("0123456789", min_size=1)
amounts = st.builds(
    lambda sign, whole, fraction: sign + whole + (f".{fraction}" if fraction else ""),
    st.sampled_from(["", "-"]),
    st.one_of(st.integers(0, 10**12).map(str), st.text("0123456789", min_size=1, max_size=WHOLE_DIGITS)),
    st.text("0123456789", max_size=FRACTION_DIGITS),
)


@given(st.lists(amounts, min_size=1, max_size=30))
def test_join_of_summed_limbs_is_the_exact_sum(parts: list[str]) -> None:
    sums = dict.fromkeys(LIMBS, 0.0)  # doubles, as in Elasticsearch
    for part in parts:
        for name, limb in split(part).items():
            sums[name] += limb
    with localcontext(Context(prec=400)):
        total = sum(map(Decimal, parts), Decimal(0))
        joined = join({name: exact_integer(value) for name, value in sums.items()})
        assert Decimal(joined) == total
        assert "E" not in joined
        assert joined == "0" or not joined.endswith((".", ".0"))


@given(amounts)
def test_limbs_are_small_carry_the_sign_and_leave_out_zeros(amount: str) -> None:
    for limb in split(amount).values():
        assert 0 < abs(limb) < 10**9
        assert (limb < 0) == amount.startswith("-")


def test_known_amounts() -> None:
    assert split("-12.000000003400000000") == {"e0": -12, "m9": -3, "m18": -400_000_000}
    assert split("1234567890.1") == {"e0": 234_567_890, "e9": 1, "m9": 100_000_000}
    assert split("-0.000") == {}
    assert join({}) == "0"
    assert join({"e0": 1, "m9": -1}) == "0.999999999"


def test_an_amount_the_limbs_cannot_hold_is_refused_not_cut() -> None:
    most = "9" * WHOLE_DIGITS + "." + "9" * FRACTION_DIGITS
    assert join(split(most)) == most
    assert split("0" * 50 + "1." + "5" + "0" * FRACTION_DIGITS) == {"e0": 1, "m9": 500_000_000}
    with pytest.raises(BadAmount, match="before the point"):
        split("1" + "0" * WHOLE_DIGITS)
    with pytest.raises(BadAmount, match="after the point"):
        split("0." + "0" * FRACTION_DIGITS + "1")


@pytest.mark.parametrize("text", ["", "1e5", "+1", ".5", "1.", "NaN", "Infinity", " 1", "1\n", "1_000", "١", "--1", "0x1"])
def test_what_is_not_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(BadAmount):
        split(text)


def test_the_bound_on_addends_is_where_doubles_stop_being_exact() -> None:
    assert MAX_ADDENDS * (10**9 - 1) < 2**53
    assert (MAX_ADDENDS + 1) * (10**9 - 1) >= 2**53
    assert exact_integer(float(MAX_ADDENDS * (10**9 - 1))) == MAX_ADDENDS * (10**9 - 1)
    assert exact_integer(None) == 0
    for value in (float(2**53), -(2.0**53), 0.5):
        with pytest.raises(BadAmount):
            exact_integer(value)
