"""Recurring fees, and the arithmetic of parts of a month."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.pricing.money import ZERO, money, plain
from ratemill.pricing.statement.proration import prorated

APRIL, MAY, JUNE, DAY = 1_775_001_600, 1_777_593_600, 1_780_272_000, 86_400


def fee(fields: str, adjustments: str = "[]") -> str:
    """A tariff with a fee of 500 a month."""
    own = f'{{id: platform, sku: acme.platform, amount: "500"{fields}}}'
    return f"\nadjustments: {adjustments}\naccounts: [{{account: acct-1, recurring: [{own}]}}]\n"


def test_a_fee_is_due_every_month_used_or_not(month: Any) -> None:
    made = month(fee(", description: Platform"), final=False)
    assert made.lines == {"recurring platform": "500"}
    line = made.charges[0]
    assert (line.category, line.sku, line.quantity, line.unit, line.description, line.recurring) == (
        "Purchase", "acme.platform", 1, "Months", "Platform", True,
    )  # fmt: skip
    assert (line.start, line.end) == (APRIL, MAY)
    assert made.terms.due(APRIL, MAY)
    assert made.book.contracts == ("acct-1",)


FROM_16 = ", effective_from: 2026-04-16T12:00:00Z"


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        (FROM_16, "241.666666667"),  # 14.5 of 30 days
        (FROM_16 + ", digits: 2", "241.67"),
        (FROM_16 + ", prorate: day", "250"),  # the 16th counts whole: 15 of 30
        (FROM_16 + ", prorate: none", "500"),
        (", effective_from: 2026-04-16T00:00:00Z", "250"),
        (", effective_to: 2026-04-16T12:00:00Z, prorate: day", "266.666666667"),  # so it does at the end: 16 of 30
        (", effective_to: 2026-04-04T00:00:00Z", "50"),
        (", effective_from: 2026-04-10T00:00:00Z, effective_to: 2026-04-11T00:00:00Z, digits: 3", "16.667"),
    ],
)
def test_a_part_of_the_month(month: Any, fields: str, cost: str) -> None:
    made = month(fee(fields))
    assert made.lines == {"recurring platform": cost}
    assert made.charges[0].start == max(APRIL, made.terms.fees[0].since)


def test_outside_its_time_a_fee_is_not_due(month: Any) -> None:
    for fields in (", effective_from: 2026-05-01T00:00:00Z", ", effective_to: 2026-04-01T00:00:00Z"):
        made = month(fee(fields))
        assert made.lines == {}
        assert not made.terms.due(APRIL, MAY)


def test_fees_come_first_unless_the_pipeline_says_where(month: Any) -> None:
    first = fee("", '[{id: off, type: discount, percent: "10"}]')
    assert month(first, {"a": "100"}).lines == {"recurring platform": "500", "off sku/a": "-10", "off sku/acme.platform": "-50"}
    last = fee("", '[{id: off, type: discount, percent: "10"}, {id: fees, type: recurring}]')
    assert month(last, {"a": "100"}).lines == {"off sku/a": "-10", "fees platform": "500"}


def whole(*arguments: Any) -> str:
    return plain(sum(prorated(*arguments), ZERO))


def test_days_are_those_of_the_month_also_when_clocks_change() -> None:
    # Berlin: March 2026 has 743 hours, the 29th only 23; October has 745.
    march, april = 1_772_319_600, 1_774_994_400
    assert (april - march) // 3_600 == 743
    assert whole(money(31), "day", 9, march, april - DAY, (march, april)) == "30"
    assert whole(money(31), "day", 9, april - DAY, None, (march, april)) == "1"
    assert whole(money(31), "day", 9, march + 27 * DAY, april, (march, april)) == "4"
    october, november = 1_790_805_600, 1_793_487_600
    assert (november - october) // 3_600 == 745
    assert whole(money(31), "day", 9, november - DAY, None, (october, november)) == "1"
    assert whole(money(31), "day", 9, october, october + 10 * DAY, (october, november)) == "10"


def test_a_finite_part_keeps_its_digits_and_another_is_rounded_to_the_nearest() -> None:
    assert whole(money("0.01"), "day", 2, APRIL, APRIL + 15 * DAY, (APRIL, MAY)) == "0.005"
    assert whole(money("0.01"), "day", 2, APRIL, APRIL + 10 * DAY, (APRIL, MAY)) == "0"
    assert whole(money("0.01"), "day", 2, APRIL, APRIL + 20 * DAY, (APRIL, MAY)) == "0.01"


times = st.integers(APRIL - 5 * DAY, MAY + 5 * DAY).map(lambda t: t - t % 60)


@given(st.integers(0, 10**6), st.sampled_from(["second", "day", "none"]), times, times, st.sets(times, max_size=3))
def test_slices_sum_to_the_whole_and_the_whole_is_rounded_once(cents: int, how: str, since: int, until: int, cuts: set[int]) -> None:
    amount = money(cents).scaleb(-2)
    since, until = sorted((since, until + 60))
    if since >= MAY or until <= APRIL:
        return
    bounds = (APRIL, *sorted(cut for cut in cuts if APRIL < cut < MAY), MAY)
    slices = prorated(amount, how, 4, since, until, bounds)
    total = sum(slices, ZERO)
    assert total == sum(prorated(amount, how, 4, since, until, (APRIL, MAY)), ZERO)
    assert all(share >= 0 for share in slices)
    assert all(share == 0 for share, low, high in zip(slices, bounds, bounds[1:], strict=False) if high <= since or low >= until)
    part = min(until, MAY) - max(since, APRIL)
    if how == "second":
        assert abs(Fraction(total) - Fraction(amount) * part / (MAY - APRIL)) <= Fraction(1, 20_000)
    if how == "none":
        assert total == amount
