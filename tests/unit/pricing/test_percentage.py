"""Percentages of an amount: exact, with floor, cap, fixed fee and free allowance, each where a vendor would put it."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.pricing import Price, parse_price_book, period_components, period_cost, tier_quantities
from ratemill.pricing.models import has_period_components, tier_name
from ratemill.pricing.money import money
from ratemill.schemas.errors import BadPriceBook

CARD: dict[str, Any] = {"percent": "2.9", "fixed_fee": "0.30", "floor": "1", "cap": "100", "free": "50"}


def built(fields: dict[str, Any]) -> Price:
    price = {"id": "p", "sku": "payments", "unit": "USD", "model": "percentage", **fields}
    return parse_price_book(json.dumps({"currency": "USD", "prices": [price]}), "book.yaml").prices[0]


def cost(fields: dict[str, Any], total: str) -> Decimal:
    return period_cost(built(fields), {0: money(total)})


def test_a_percentage_is_an_exact_unit_price() -> None:
    price = built({"percent": "0.000000000000000000000000000001"})
    assert price.tiers[0].unit_price == money("1e-32")
    assert price.by_window
    assert not price.selector
    assert not has_period_components(price)
    assert period_cost(price, {0: money("123456789")}) == money("1.23456789e-24")


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        ("50", "0"),  # all of it is free: no fee either, and no floor
        ("50.01", "1.3"),  # 0.01 x 2.9 % = 0.00029, raised to 1; and the fee of 0.30
        ("84.48", "1.3"),  # 34.48 x 2.9 % = 0.99992, raised to 1
        ("84.49", "1.30021"),  # 34.49 x 2.9 % = 1.00021
        ("1050", "29.3"),  # 1000 x 2.9 % = 29
        ("3498.27", "100.29983"),  # 3448.27 x 2.9 % = 99.99983
        ("3498.28", "100.3"),  # 3448.28 x 2.9 % = 100.00012, lowered to 100
        ("1000000", "100.3"),
        ("-20", "0"),
    ],
)
def test_amounts_worked_by_hand(total: str, expected: str) -> None:
    assert cost(CARD, total) == money(expected)


@pytest.mark.parametrize(
    ("total", "keys"),
    [("50", []), ("60", ["floor", "fixed-fee"]), ("1050", ["fixed-fee"]), ("5000", ["cap", "fixed-fee"])],
)
def test_what_is_not_charged_by_window_is_named(total: str, keys: list[str]) -> None:
    found = period_components(built(CARD), {0: money(total)}, True)
    assert [component.key for component in found] == keys
    assert {"cap": "Credit", "floor": "Adjustment", "fixed-fee": "Usage"}.items() >= {c.key: c.category for c in found}.items()


def test_refunds_give_back_the_percentage_and_nothing_else() -> None:
    price = built({"percent": "2.9", "fixed_fee": "0.30", "floor": "1"})
    assert period_cost(price, {0: money("-100")}) == money("-2.9")
    assert period_cost(price, {0: money(0)}) == 0


def test_a_fixed_fee_may_be_due_for_any_use() -> None:
    assert cost(CARD | {"charge_flat_at_zero": True}, "0") == money("0.3")
    assert period_cost(built(CARD | {"charge_flat_at_zero": True}), {}, used=False) == 0


def test_minimum_and_maximum_count_the_fixed_fee_and_floor_and_cap_do_not() -> None:
    fields = {"percent": "1", "fixed_fee": "2"}
    assert cost(fields | {"cap": "5"}, "1000") == 7
    assert cost(fields | {"maximum": "5"}, "1000") == 5
    assert cost(fields | {"floor": "5"}, "100") == 7
    assert cost(fields | {"minimum": "5"}, "100") == 5


def test_the_allowance_is_a_tier_of_its_own() -> None:
    price = built(CARD)
    assert [tier.upper for tier in price.tiers] == [50, None]
    assert tier_quantities(price, {0: money(70)}) == [50, 20]
    assert [tier_name(price, index) for index in range(2)] == ["free", "tier-1"]
    assert [tier.sku_price_id for tier in price.tiers] == ["payments/USD/free", "payments/USD/percent"]
    assert built(CARD | {"sku_price_id": "card"}).tiers[1].sku_price_id == "card"


def numbers(high: int, places: int) -> st.SearchStrategy[str]:
    return st.integers(0, high * 10**places).map(lambda number: f"{number}e-{places}")


@st.composite
def percentages(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {"percent": draw(numbers(20, 4))}
    low, high = sorted(draw(st.tuples(st.integers(0, 40), st.integers(0, 40))))
    for key, value in (("floor", str(low)), ("cap", str(high)), ("fixed_fee", draw(numbers(3, 2))), ("free", draw(numbers(50, 1)))):
        if draw(st.booleans()):
            fields[key] = value
    return fields


def oracle(fields: dict[str, Any], total: Fraction) -> Fraction:
    """The definition, in fractions; shares no code with the package."""

    def field(key: str) -> Fraction:
        return Fraction(Decimal(fields.get(key, "0")))

    free = field("free")
    charged = max(total - free, Fraction(0)) if free else total
    share = charged * field("percent") / 100
    if charged > 0:
        share = max(share, field("floor"))
    if "cap" in fields:
        share = min(share, field("cap"))
    return share + (field("fixed_fee") if charged > 0 else 0)


TOTALS = numbers(2000, 3) | st.integers(-50, 60).map(str)


@settings(max_examples=150, deadline=None)
@given(percentages(), TOTALS)
def test_cost_is_that_of_the_definition(fields: dict[str, Any], total: str) -> None:
    assert Fraction(cost(fields, total)) == oracle(fields, Fraction(Decimal(total)))


@settings(max_examples=150, deadline=None)
@given(percentages(), TOTALS)
def test_windows_and_components_make_up_the_cost(fields: dict[str, Any], total: str) -> None:
    price, quantities = built(fields), {0: money(total)}
    windows = sum((part * tier.unit_price for part, tier in zip(tier_quantities(price, quantities), price.tiers, strict=True)), money(0))
    components = period_components(price, quantities, True)
    assert windows + sum((component.cost for component in components), money(0)) == period_cost(price, quantities)
    assert all(component.quantity * component.unit_price == component.cost for component in components)
    assert has_period_components(price) or not components


def test_windows_alone_do_not_make_up_the_cost() -> None:
    price, quantities = built(CARD), {0: money(60)}
    windows = sum((part * tier.unit_price for part, tier in zip(tier_quantities(price, quantities), price.tiers, strict=True)), money(0))
    assert windows != period_cost(price, quantities)


MISTAKES = {
    "percent missing": ("fixed_fee: 1", ["3: price `a` has no `percent`"]),
    "negative": ("percent: -1", ["3: `percent` is `-1`; it cannot be negative"]),
    "a sign": ("percent: 2.9%", ["3: `percent` is `2.9%`, which is not a number"]),
    "floor above cap": ("percent: 1, floor: 5, cap: 4", ["3: `floor` 5 is above `cap` 4"]),
    "floor finer than rounding": ("percent: 1, floor: 0.005, rounding: {digits: 2}", ["3: `floor` 0.005 has more than the 2 digits"]),
    "key of another model": ("percent: 1, tiers: []", ["3: `tiers` does not go with model percentage: it belongs to graduated and volume"]),
}


@pytest.mark.parametrize(("fields", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(fields: str, expected: list[str]) -> None:
    with pytest.raises(BadPriceBook) as caught:
        parse_price_book(f"currency: USD\nprices:\n  - {{id: a, sku: s, unit: USD, model: percentage, {fields}}}\n", "book.yaml")
    found = [mistake.removeprefix("book.yaml:") for mistake in caught.value.mistakes]
    assert len(found) == len(expected)
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found
