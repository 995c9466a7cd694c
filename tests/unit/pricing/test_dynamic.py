"""Unit prices that usage carries itself: exact, marked up, and never guessed when they are missing."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.pricing import Price, cell_of, entry_price, parse_price_book, period_components, period_cost, tier_quantities
from ratemill.pricing.money import ZERO, money
from ratemill.schemas.errors import BadPriceBook
from ratemill.schemas.usage_event import canonical_map


def built(**fields: str) -> Price:
    price = {"id": "p", "sku": "s", "unit": "h", "model": "dynamic", "price_field": "unit_price", **fields}
    return parse_price_book(json.dumps({"currency": "USD", "prices": [price]}), "book.yaml").prices[0]


@pytest.mark.parametrize(
    ("carried", "markup", "expected"),
    [
        ("0.10", "1", "0.1"),
        ("0.10", "1.1", "0.11"),
        ("1e-9", "1.000000001", "0.000000001000000001"),
        ("0", "2", "0"),
        ("0.1234567890123456789012345678", "1.1", "0.13580246791358024679135802458"),
    ],
)
def test_an_entry_costs_what_it_carries_times_the_markup(carried: str, markup: str, expected: str) -> None:
    price, dimensions = built(markup=markup), canonical_map({"unit_price": carried, "zone": "a"})
    assert cell_of(price, 0, "", "", dimensions) == 0
    assert entry_price(price, 0, dimensions) == money(expected)


NO_PRICES = ["", "-1", "-0.01", "free", "NaN", "Infinity", "1,5", "0x1", " 1", "1e99999", "1e-31", "1e30", "1" * 500]


@pytest.mark.parametrize("carried", NO_PRICES)
def test_what_is_no_price_is_not_taken_for_one(carried: str) -> None:
    dimensions = canonical_map({"unit_price": carried})
    assert cell_of(built(), 0, "", "", dimensions) is None
    with pytest.raises(ValueError, match="price p needs a number in the dimension unit_price"):
        entry_price(built(), 0, dimensions)


@pytest.mark.parametrize("dimensions", ["", canonical_map({"price": "1"})])
def test_without_the_dimension_an_entry_has_no_price(dimensions: str) -> None:
    assert cell_of(built(), 0, "eu", "vm", dimensions) is None


def test_it_counts_amounts_in_one_cell() -> None:
    price = built(markup="1.1")
    assert price.by_window
    assert price.selector
    assert [(tier.upper, tier.unit_price, tier.sku_price_id) for tier in price.tiers] == [(None, 1, "s/h/dynamic")]
    assert period_cost(price, {0: money("12.34")}) == money("12.34")
    assert tier_quantities(price, {0: money("12.34")}) == [money("12.34")]
    assert period_components(price, {0: money("12.34")}, True) == []
    assert [c.key for c in period_components(built(minimum="20"), {0: money("12.34")}, True)] == ["minimum"]


def test_the_field_may_be_named_as_in_expressions_and_versions_tell_prices_apart() -> None:
    assert built(price_field="dimensions.unit_price") == built()
    assert len({built().version, built(price_field="list").version, built(markup="1.2").version}) == 3
    assert built(markup="1.0").version == built().version


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(-(10**9), 10**9)), max_size=20), st.integers(1, 10**9))
def test_the_cell_costs_what_the_entries_cost_one_by_one(used: list[tuple[int, int]], markup: int) -> None:
    price = built(markup=f"{markup}e-6")
    amount, expected = ZERO, Fraction(0)
    for carried, quantity in used:
        dimensions = canonical_map({"unit_price": f"{carried}e-12"})
        amount += money(f"{quantity}e-3") * entry_price(price, 0, dimensions)
        expected += Fraction(quantity, 1_000) * Fraction(carried, 10**12) * Fraction(markup, 10**6)
    assert Fraction(period_cost(price, {0: amount})) == expected


def test_a_float_on_the_way_would_be_seen() -> None:
    price, dimensions = built(markup="1.1"), canonical_map({"unit_price": "0.1"})
    assert entry_price(price, 0, dimensions) == money("0.11") != Decimal(0.1 * 1.1)


MISTAKES = {
    "no field": ("markup: 2", ["3: price `a` has no `price_field`; add one, such as `price_field: unit_price`"]),
    "markup of nothing": ("price_field: p, markup: 0", ["3: `markup` is 0; it must be above 0"]),
    "negative markup": ("price_field: p, markup: -1", ["3: `markup` is `-1`; it cannot be negative"]),
    "a unit price too": ("price_field: p, unit_price: 1", ["3: `unit_price` does not go with model dynamic: it belongs to unit"]),
}


@pytest.mark.parametrize(("fields", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(fields: str, expected: list[str]) -> None:
    with pytest.raises(BadPriceBook) as caught:
        parse_price_book(f"currency: USD\nprices:\n  - {{id: a, sku: s, unit: u, model: dynamic, {fields}}}\n", "book.yaml")
    found = [mistake.removeprefix("book.yaml:") for mistake in caught.value.mistakes]
    assert len(found) == len(expected)
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found
