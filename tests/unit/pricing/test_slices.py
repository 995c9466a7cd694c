"""A period cut into slices costs what it costs whole, to the last digit, under every model."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.pricing import Price, PriceBook, Quantities, period_cost, slice_costs
from ratemill.pricing.money import ZERO, money
from ratemill.pricing.price import Rounding

SKUS = ["unit", "graduated", "volume", "package", "percentage", "matrix", "time_of_day", "dynamic"]
QUANTITY = st.tuples(st.integers(-2_000, 60_000), st.just("e-3")).map(lambda pair: money(f"{pair[0]}{pair[1]}"))
SLICES = st.lists(st.dictionaries(st.integers(0, 3), QUANTITY, max_size=4), max_size=5)


def price_of(book: PriceBook, sku: str, rounded: bool) -> Price:
    (price,) = (price for price in book.prices if price.sku == sku)
    return price._replace(rounding=Rounding(1, "half_even", "period")) if rounded else price


def in_cells_of(price: Price, slices: list[dict[int, Decimal]]) -> list[dict[int, Decimal]]:
    """Quantities of the cells that the price has."""
    cells = len(price.tiers) if price.model in ("matrix", "time_of_day") else 1
    return [{cell: quantity for cell, quantity in quantities.items() if cell < cells} for quantities in slices]


def together(slices: list[dict[int, Decimal]]) -> Quantities:
    found: dict[int, Decimal] = {}
    for quantities in slices:
        for cell, quantity in quantities.items():
            found[cell] = found.get(cell, ZERO) + quantity
    return found


@pytest.mark.parametrize("sku", SKUS)
@settings(max_examples=60, deadline=None)
@given(slices=SLICES, used=st.booleans(), final=st.booleans(), rounded=st.booleans())
def test_slices_sum_to_the_cost_of_the_period(
    every_model: PriceBook, sku: str, slices: list[dict[int, Decimal]], used: bool, final: bool, rounded: bool
) -> None:
    price = price_of(every_model, sku, rounded)
    slices = in_cells_of(price, slices)
    costs = slice_costs(price, slices, used, final=final)
    assert len(costs) == len(slices)
    assert sum(costs, ZERO) == (period_cost(price, together(slices), used, final=final) if slices else 0)


@pytest.mark.parametrize("sku", ["graduated", "volume", "package", "percentage", "matrix"])
def test_slices_priced_each_by_itself_sum_to_something_else(every_model: PriceBook, sku: str) -> None:
    price = price_of(every_model, sku, rounded=False)
    slices: list[Quantities] = [{0: money(7)}, {0: money(11)}, {0: money(12)}]
    alone = [period_cost(price, quantities) for quantities in slices]
    assert sum(alone, ZERO) != sum(slice_costs(price, slices, True, final=True), ZERO)


def test_a_slice_costs_what_it_adds(every_model: PriceBook) -> None:
    graduated = price_of(every_model, "graduated", rounded=False)
    # 5 units at 3; then 1 at 1.25 and the flat price of 7; then 14 at 1.25 and 2 at 0.5; then nothing
    assert slice_costs(graduated, [{0: money(5)}, {0: money(1)}, {0: money(16)}, {}], True, final=True) == [15, money("8.25"), money("18.5"), 0]
    volume = price_of(every_model, "volume", rounded=False)
    # 15 at 2 and the flat price of 1; the next unit brings all of them to 1 each
    assert slice_costs(volume, [{0: money(15)}, {0: money(1)}], True, final=True) == [31, -15]


def test_a_minimum_falls_to_the_first_slice_that_was_used(every_model: PriceBook) -> None:
    unit = price_of(every_model, "unit", rounded=False)
    assert slice_costs(unit, [{}, {0: money(4)}, {0: money(100)}], True, final=False) == [0, money("0.5"), money("1.217")]
    assert slice_costs(unit, [{}, {0: ZERO}, {}], True, final=True) == [0, money("0.5"), 0], "a quantity of 0 is use"
    assert slice_costs(unit, [{}, {}], True, final=True) == [0, money("0.5")]
    assert slice_costs(unit, [{}, {}], False, final=True) == [0, 0]


def test_a_minimum_that_is_due_at_the_end_falls_to_the_last_slice(every_model: PriceBook) -> None:
    matrix = price_of(every_model, "matrix", rounded=False)
    slices: list[Quantities] = [{0: money(10)}, {3: money(5)}, {}]
    assert slice_costs(matrix, slices, True, final=False) == [3, money("0.5"), 0]
    assert slice_costs(matrix, slices, True, final=True) == [3, money("0.5"), money("2.5")]
