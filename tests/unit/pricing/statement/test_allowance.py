"""Allowances that several SKUs share."""

from __future__ import annotations

from typing import Any

import pytest
from ratemill.pricing import slice_costs
from ratemill.pricing.money import money
from ratemill.pricing.statement import Usage, statement

APRIL, MAY, DAY = 1_775_001_600, 1_777_593_600, 86_400


def pool(skus: str, quantity: str = "100", order: str = "listed", more: str = "") -> str:
    return f'\nadjustments: [{{id: pool, type: allowance, skus: [{skus}], unit: GB, quantity: "{quantity}", order: {order}}}{more}]\n'


def test_a_shared_quantity_is_not_charged(month: Any) -> None:
    # Elastic Cloud: 100 GB of transfer out and between nodes together are free.
    made = month(pool("a, b"), {"a": "70", "b": "50"})
    assert made.lines == {"pool sku/a": "-70", "pool sku/b": "-60"}
    assert made.due == "40"
    line = made.line("pool sku/b")
    assert (line.category, line.quantity, line.unit, str(line.unit_price), line.description) == ("Credit", -1, "charge", "60", "pool: 30 GB of b")


def test_the_order_is_an_option(month: Any) -> None:
    usage = {"a": "70", "b": "50"}
    assert month(pool("b, a"), usage).lines == {"pool sku/b": "-100", "pool sku/a": "-50"}
    assert month(pool("b, a", order="cheapest_first"), usage).lines == {"pool sku/a": "-70", "pool sku/b": "-60"}
    assert month(pool("a, b", order="dearest_first"), usage).lines == {"pool sku/b": "-100", "pool sku/a": "-50"}
    # c costs 30 + 6 = 36 for 16 GB, 2.25 each on average: more than b.
    assert month(pool("b, c", "16", order="dearest_first"), {"b": "50", "c": "16"}).lines == {"pool sku/c": "-36"}
    assert month(pool("b, c", "20", order="dearest_first"), {"b": "50", "c": "30"}).lines == {"pool sku/b": "-40"}


def test_a_share_is_worth_what_the_price_makes_of_the_difference(month: Any) -> None:
    # 25 GB cost 30 + 15, 20 GB cost 30 + 10: the share comes off the last tier.
    assert month(pool("c", "5"), {"c": "25"}).lines == {"pool sku/c": "-5"}
    assert month(pool("c", "20"), {"c": "25"}).lines == {"pool sku/c": "-30"}
    assert month(pool("c", "25"), {"c": "25"}).due == "0"


def test_a_share_that_saves_nothing_stays_for_the_next_sku(month: Any) -> None:
    # v: 12 GB cost 6, and 9 GB would cost 9; 11 of 12 off would leave 1.
    assert month(pool("v, a", "3"), {"v": "12", "a": "10"}).lines == {"pool sku/a": "-3"}
    assert month(pool("v, a", "11"), {"v": "12", "a": "10"}).lines == {"pool sku/v": "-5"}


def test_less_than_nothing_takes_no_share(month: Any) -> None:
    assert month(pool("a, b"), {"a": "-5", "b": "7"}).lines == {"pool sku/b": "-14"}


def test_a_second_allowance_starts_where_the_first_ended(month: Any) -> None:
    more = ', {id: more, type: allowance, skus: [a], unit: GB, quantity: "20"}'
    assert month(pool("a", "100", more=more), {"a": "110"}).lines == {"pool sku/a": "-100", "more sku/a": "-10"}


def test_later_adjustments_see_what_is_left(month: Any) -> None:
    more = ', {id: off, type: discount, percent: "10", skus: [a]}'
    assert month(pool("a, b", more=more), {"a": "110"}).lines == {"pool sku/a": "-100", "off sku/a": "-1"}


def test_what_was_used_first_is_free_first(month: Any) -> None:
    text = """
adjustments:
  - {id: pool, type: allowance, skus: [a], unit: GB, quantity: "30"}
  - {id: pay, type: credits}
accounts:
  - {account: acct-1, credits: [{id: g, amount: "100", effective_from: 2026-01-01T00:00:00Z, expires: 2026-04-11T00:00:00Z}]}
"""
    # 20 before the credit expires are free; the credit pays the other 0, not what came later.
    made = month(text, {"a": ["20", "50"]})
    assert made.lines == {"pool sku/a": "-30"}
    made = month(text, {"a": ["35", "50"]})
    assert made.lines == {"pool sku/a": "-30", "pay used/g/sku/a": "-5"}


@pytest.mark.parametrize("reverse", [False, True])
def test_stretches_of_one_sku_share_in_the_order_of_time(month: Any, reverse: bool) -> None:
    made = month(pool("c", "12"), {"c": "1"})
    price = made.usage[0].price
    days = [Usage("c", "GB", price, APRIL + n * DAY, APRIL + (n + 1) * DAY, ({0: money(8)},), True) for n in range(3)]
    other = [Usage("c", "Requests", price, APRIL, MAY, ({0: money(8)},), True), Usage("c", "GB", None, APRIL, MAY, ({0: money(8)},), True)]
    given = [*days, *other]
    (charge,) = statement(made.terms, APRIL, MAY, given[::-1] if reverse else given, {}, True).charges
    # Days cost 24 each: the first is free, and half of the second. Another unit and what has no price take no share.
    assert (charge.cost, charge.description) == (-36, "pool: 12 GB of c")
    assert slice_costs(price, days[0].slices, True, final=True) == [24]
