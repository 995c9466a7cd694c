"""The models against an oracle of their own: fractions, written from the definitions, sharing no code with the package."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.pricing import Component, Price, parse_price_book, period_components, period_cost, tier_quantities
from ratemill.pricing.models import has_period_components, tier_name
from ratemill.pricing.money import ZERO, money


def digits(low: int, high: int, places: int) -> st.SearchStrategy[str]:
    """Decimal numbers as text, between low and high, with up to `places` digits after the point."""
    return st.tuples(st.integers(low * 10**places, high * 10**places), st.just(places)).map(lambda pair: f"{pair[0]}e-{pair[1]}")


AMOUNTS = digits(0, 20, 9) | st.just("0") | st.just("0.0000000001")
# Whole numbers in the range of the bounds come often: what differs at a bound shows only there.
QUANTITIES = digits(-50, 5000, 6) | st.integers(-5, 60).map(str) | st.integers(0, 9).map(str) | st.just("123456789012345678901234567890.123456789")


@st.composite
def prices(draw: st.DrawFn, models: tuple[str, ...] = ("unit", "graduated", "volume", "package")) -> dict[str, Any]:
    """A price as it is written in a book, any option drawn."""
    model = draw(st.sampled_from(models))
    fields: dict[str, Any] = {"id": "p", "sku": "s", "unit": "u", "model": model}
    if draw(st.booleans()):
        fields["free"] = draw(st.integers(0, 20).map(str) | digits(0, 9, 3))
    if model == "unit":
        fields["unit_price"] = draw(AMOUNTS)
    elif model == "package":
        fields |= {"package_size": draw(st.sampled_from(["1", "7", "1000", "0.3"])), "package_price": draw(AMOUNTS)}
    else:
        bounds = sorted(draw(st.sets(st.integers(1, 40) | st.integers(1, 9), max_size=3)))
        fields["tiers"] = [{"up_to": str(bound), "unit_price": draw(AMOUNTS), "flat_price": draw(AMOUNTS)} for bound in bounds]
        fields["tiers"].append({"unit_price": draw(AMOUNTS), "flat_price": draw(AMOUNTS)})
        fields["bounds"] = draw(st.sampled_from(["inclusive", "exclusive"]))
        fields["charge_flat_at_zero"] = draw(st.booleans())
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["half_up", "half_even", "up", "down"]))
        fields["rounding"] = {"digits": draw(st.integers(0, 4)), "mode": mode, "scope": draw(st.sampled_from(["period", "tier"]))}
    if draw(st.booleans()):
        fields["minimum"] = str(draw(st.integers(0, 50)))
    if draw(st.booleans()):
        fields["maximum"] = str(draw(st.integers(50, 90)))
    return fields


def built(fields: dict[str, Any]) -> Price:
    """The price of a one-price book."""
    return parse_price_book(json.dumps({"currency": "USD", "prices": [fields]}), "book.yaml").prices[0]


def fraction_of(fields: dict[str, Any], key: str) -> Fraction:
    return Fraction(Decimal(fields.get(key, "0")))


def rounded(value: Fraction, digits: int, mode: str) -> Fraction:
    """Rounding by its definition on the magnitude, the sign put back after."""
    scaled = abs(value) * 10**digits
    low = math.floor(scaled)
    rest = scaled - low
    half = Fraction(1, 2)
    up = {"down": False, "up": rest > 0, "half_up": rest >= half, "half_even": rest > half or (rest == half and low % 2 == 1)}
    result = Fraction(low + up[mode], 10**digits)
    return -result if value < 0 else result


def tier_amounts(fields: dict[str, Any], total: Fraction) -> list[Fraction]:
    """What each tier costs, flat prices included."""
    free = fraction_of(fields, "free")
    charged = max(total - free, Fraction(0)) if free else total
    model = fields["model"]
    if model == "unit":
        return [charged * fraction_of(fields, "unit_price")]
    if model == "package":
        return [max(0, math.ceil(charged / fraction_of(fields, "package_size"))) * fraction_of(fields, "package_price")]
    tiers = fields["tiers"]
    lowers = [Fraction(0), *(fraction_of(tier, "up_to") for tier in tiers[:-1])]
    uppers = [*lowers[1:], None]
    inclusive, at_zero = fields["bounds"] == "inclusive", fields["charge_flat_at_zero"]

    def reached(lower: Fraction) -> bool:
        return charged > lower or (lower == 0 and at_zero) or (lower > 0 and charged == lower and not inclusive)

    if model == "volume":
        tier, lower = next((t, low) for t, low in reversed(list(zip(tiers, lowers, strict=True))) if reached(low) or low == 0)
        return [charged * fraction_of(tier, "unit_price") + (fraction_of(tier, "flat_price") if reached(lower) else 0)]
    amounts = []
    for tier, lower, upper in zip(tiers, lowers, uppers, strict=True):
        within = charged if upper is None or charged < upper else upper
        quantity = within - lower if charged > lower or lower == 0 else Fraction(0)
        amounts.append(quantity * fraction_of(tier, "unit_price") + (fraction_of(tier, "flat_price") if reached(lower) else 0))
    return amounts


def oracle(fields: dict[str, Any], total: Fraction) -> Fraction:
    """The cost of a period, in fractions."""
    amounts = tier_amounts(fields, total)
    rounding = fields.get("rounding")
    if rounding and rounding["scope"] == "tier":
        amounts = [rounded(amount, rounding["digits"], rounding["mode"]) for amount in amounts]
    cost = sum(amounts, Fraction(0))
    cost = max(cost, fraction_of(fields, "minimum")) if "minimum" in fields else cost
    cost = min(cost, fraction_of(fields, "maximum")) if "maximum" in fields else cost
    if rounding and rounding["scope"] == "period":
        cost = rounded(cost, rounding["digits"], rounding["mode"])
    return cost


def exactly(components: list[Component]) -> Fraction:
    """Sum of the components' costs; each is quantity x unit price, and none is empty but usage priced at 0."""
    for component in components:
        assert Fraction(component.quantity) * Fraction(component.unit_price) == Fraction(component.cost)
        assert component.unit_price >= 0
        assert component.cost != 0 or component.key in ("volume", "package")
    assert len({component.key for component in components}) == len(components)
    return sum((Fraction(component.cost) for component in components), Fraction(0))


@given(prices(), QUANTITIES)
def test_cost_of_a_period_is_that_of_the_oracle(fields: dict[str, Any], quantity: str) -> None:
    assert Fraction(period_cost(built(fields), {0: money(quantity)})) == oracle(fields, Fraction(Decimal(quantity)))


@given(prices(), QUANTITIES)
def test_windows_and_components_make_up_the_cost(fields: dict[str, Any], quantity: str) -> None:
    price, total = built(fields), money(quantity)
    windows = Fraction(0)
    if price.by_window:
        parts = zip(tier_quantities(price, {0: total}), price.tiers, strict=True)
        windows = sum((Fraction(part) * Fraction(tier.unit_price) for part, tier in parts), Fraction(0))
    components = period_components(price, {0: total}, True)
    assert windows + exactly(components) == Fraction(period_cost(price, {0: total}))
    assert has_period_components(price) or not components


@given(prices(("unit", "graduated")), QUANTITIES)
def test_tier_quantities_sum_to_the_total(fields: dict[str, Any], quantity: str) -> None:
    price, total = built(fields), money(quantity)
    parts = tier_quantities(price, {0: total})
    assert sum((Fraction(part) for part in parts), Fraction(0)) == Fraction(total)
    assert all(part >= 0 for part in parts[1:])
    if total < 0:
        assert parts == [total, *[ZERO] * (len(parts) - 1)]


@given(prices(("unit", "graduated")), st.lists(digits(-9, 30, 3), max_size=12))
def test_windows_in_any_split_add_up_to_the_whole(fields: dict[str, Any], increments: list[str]) -> None:
    price = built(fields)
    total, charged = ZERO, Fraction(0)
    for increment in increments:
        before, total = tier_quantities(price, {0: total}), total + money(increment)
        for was, now, tier in zip(before, tier_quantities(price, {0: total}), price.tiers, strict=True):
            charged += (Fraction(now) - Fraction(was)) * Fraction(tier.unit_price)
    assert charged + exactly(period_components(price, {0: total}, True)) == oracle(fields, Fraction(total))


@given(prices(("unit", "graduated", "package")), digits(0, 60, 2), digits(0, 60, 2))
def test_more_usage_never_costs_less_unless_the_price_is_by_volume(fields: dict[str, Any], one: str, other: str) -> None:
    price = built(fields)
    less, more = sorted((money(one), money(other)))
    assert period_cost(price, {0: less}) <= period_cost(price, {0: more})


@given(prices(), QUANTITIES)
def test_limits_hold_for_whatever_was_used(fields: dict[str, Any], quantity: str) -> None:
    cost = period_cost(built(fields), {0: money(quantity)})
    assert cost <= money(fields.get("maximum", str(10**50)))
    assert "minimum" not in fields or cost >= money(fields["minimum"])


@given(prices())
def test_without_usage_nothing_is_due(fields: dict[str, Any]) -> None:
    assert period_components(built(fields), {0: ZERO}, False) == []
    assert period_cost(built(fields), {0: ZERO}, used=False) == 0
    assert period_cost(built(fields), {0: money(3)}, used=False) == period_cost(built(fields), {0: money(3)}), "a quantity is use"


GRADUATED: dict[str, Any] = {
    "id": "p",
    "sku": "s",
    "unit": "u",
    "model": "graduated",
    "tiers": [{"up_to": "5", "unit_price": "1", "flat_price": "100"}, {"unit_price": "2", "flat_price": "7"}],
}


def test_digits_beyond_the_default_context_are_kept() -> None:
    price = built({"id": "p", "sku": "s", "unit": "u", "model": "unit", "unit_price": "0.000000000000000000000000000001"})
    total = money("123456789012345678901234567890.123456789012345678901234567891")
    assert str(period_cost(price, {0: total})) == "0.123456789012345678901234567890123456789012345678901234567891"
    wide = built(GRADUATED | {"free": "0.000000000000000000000000000001", "tiers": [{"up_to": "1e29", "unit_price": "1"}, {"unit_price": "2"}]})
    assert str(wide.tiers[1].upper) == "100000000000000000000000000000.000000000000000000000000000001"


@pytest.mark.parametrize(("total", "keys"), [("-1", []), ("0", []), ("0.1", ["flat-1"]), ("5", ["flat-1"]), ("5.1", ["flat-1", "flat-2"])])
def test_flat_prices_of_the_tiers_that_were_entered(total: str, keys: list[str]) -> None:
    assert [component.key for component in period_components(built(GRADUATED), {0: money(total)}, True)] == keys


def test_an_exclusive_bound_enters_the_next_tier_at_the_bound() -> None:
    assert period_cost(built(GRADUATED), {0: money(5)}) == 105
    assert period_cost(built(GRADUATED | {"bounds": "exclusive"}), {0: money(5)}) == 112
    assert period_cost(built(GRADUATED | {"model": "volume"}), {0: money(5)}) == 105
    assert period_cost(built(GRADUATED | {"model": "volume", "bounds": "exclusive"}), {0: money(5)}) == 17


def test_a_free_allowance_comes_before_the_tiers_and_shifts_them() -> None:
    price = built(GRADUATED | {"free": "10"})
    assert tier_quantities(price, {0: money(17)}) == [10, 5, 2]
    assert [tier_name(price, index) for index in range(3)] == ["free", "tier-1", "tier-2"]
    assert [component.key for component in period_components(price, {0: money(10)}, True)] == []
    assert [component.key for component in period_components(price, {0: money(17)}, True)] == ["flat-1", "flat-2"]


def test_below_the_free_allowance_volume_charges_nothing() -> None:
    price = built(GRADUATED | {"model": "volume", "free": "10"})
    assert [period_cost(price, {0: money(total)}) for total in (-1, 0, 9, 10, 11)] == [0, 0, 0, 0, 101]
    (component,) = period_components(price, {0: money(9)}, True)
    assert (component.quantity, component.consumed_quantity, component.cost) == (0, 9, 0)


def test_adjustments_come_in_one_order() -> None:
    fields = {"id": "p", "sku": "s", "unit": "u", "model": "unit", "unit_price": "0.333", "minimum": "5", "maximum": "9.5"}
    by_period = built(fields | {"rounding": {"digits": 2}})
    assert [(c.key, str(c.quantity), str(c.unit_price)) for c in period_components(by_period, {0: money(1)}, True)] == [("minimum", "1", "4.667")]
    assert [(c.key, str(c.quantity), str(c.unit_price)) for c in period_components(by_period, {0: money(17)}, True)] == [("rounding", "-1", "0.001")]
    assert [c.key for c in period_components(by_period, {0: money(1000)}, True)] == ["maximum"]
    by_tier = built(fields | {"rounding": {"digits": 2, "scope": "tier"}})
    assert [c.key for c in period_components(by_tier, {0: money(17)}, True)] == ["rounding"]
    assert [c.key for c in period_components(by_tier, {0: money(1)}, True)] == ["rounding", "minimum"]


def test_a_minimum_due_at_period_end_is_left_out_until_then() -> None:
    price = built({"id": "p", "sku": "s", "unit": "u", "model": "unit", "unit_price": "1", "minimum": "5", "minimum_due": "period_end"})
    assert period_cost(price, {0: money(2)}, final=False) == 2
    assert period_cost(price, {0: money(2)}) == 5


def test_volume_keeps_one_flat_component_across_tiers() -> None:
    price = built(GRADUATED | {"model": "volume"})
    small, large = (period_components(price, {0: money(total)}, True) for total in (5, 6))
    assert [(c.key, c.cost, c.sku_price_id) for c in small] == [("volume", 5, "s/u/tier-1"), ("flat", 100, "s/u/tier-1/flat")]
    assert [(c.key, c.cost, c.sku_price_id) for c in large] == [("volume", 12, "s/u/tier-2"), ("flat", 7, "s/u/tier-2/flat")]


def test_packages_are_charged_whole_and_never_below_none() -> None:
    price = built({"id": "p", "sku": "s", "unit": "u", "model": "package", "package_size": "10", "package_price": "15", "free_units": "100"})
    costs = {total: period_cost(price, {0: money(total)}) for total in ("-20", "100", "100.1", "110", "111")}
    assert costs == {"-20": 0, "100": 0, "100.1": 15, "110": 15, "111": 30}
    (component,) = period_components(price, {0: money(111)}, True)
    assert (component.quantity, component.consumed_quantity, component.sku_price_id) == (2, 111, "s/u/package")
