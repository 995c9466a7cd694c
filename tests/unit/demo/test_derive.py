"""Prices derived from rows agree with every digit that the rows print."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.demo.derive import derive, intervals, shortest_decimal
from ratemill.demo.rows import OTHER_CURRENCY, SOURCES, PricedRow, Source, half_unit, read_rows
from ratemill.pricing import parse_price_book
from ratemill.pricing.money import money, round_to
from ratemill.schemas.errors import BadInput
from ratemill.schemas.usage_event import UsageEvent

HOUR = 3_600 * 10**9


def row(rate: str | None, cost: str = "0", quantity: str = "1", hour: int = 0, sku: str = "s", currency: str = "USD") -> PricedRow:
    event = UsageEvent("a", "src", f"{sku}{hour}", sku, hour * HOUR, Decimal(quantity), "u")
    source = Source("gcp" if rate is None else "aws", "f.csv", "aws-cur")
    printed = money(rate) if rate else None
    return PricedRow(source, hour + 2, event, "", "Product", "words", currency, money(cost), money("0.0000005"), money("0"), printed, money("0"))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [("0", "1", "0"), ("0.2155", "0.2371", "0.22"), ("0.5", "0.50001", "0.5"), ("3", "3", "3"), ("1.2341", "1.2342", "1.2341"), ("0.3", "0.2", None)],
)
def test_the_shortest_decimal(low: str, high: str, expected: str | None) -> None:
    found = shortest_decimal(money(low), money(high))
    assert found == (None if expected is None else money(expected))


@given(st.decimals("0.001", 10, places=5), st.lists(st.decimals("0.00001", "0.01", places=8), min_size=1, max_size=8), st.booleans())
def test_a_rate_is_found_that_gives_every_printed_cost(rate: Decimal, quantities: list[Decimal], down: bool) -> None:
    mode = "down" if down else "half_even"
    rows = [row(None, str(round_to(rate * quantity, 6, mode)), str(quantity), hour) for hour, quantity in enumerate(quantities)]
    derived = derive(rows, "USD")
    found = derived.rates["s", "u"]
    for one in rows:
        interval = intervals(one, derived.rounding)
        assert interval is not None
        assert interval.holds(found)
        assert abs(found * (one.event.quantity if one.event else 0) - one.cost) <= money("0.000001")


def test_a_changed_rate_becomes_an_effective_dated_price() -> None:
    book = parse_price_book(derive([row("0.2", hour=5), row("0.1", hour=1), row("0.1", hour=3), row("0.2", hour=9)], "USD").text, "b")
    prices = [book.price_at("s", "u", hour * HOUR) for hour in (1, 4, 5, 9)]
    assert [price.tiers[0].unit_price if price else None for price in prices] == [money("0.1"), money("0.1"), money("0.2"), money("0.2")]


def test_two_rates_at_one_time_and_two_currencies_are_refused() -> None:
    with pytest.raises(BadInput, match="contradicts"):
        derive([row("0.1", hour=1), row("0.2", hour=1)], "USD")
    with pytest.raises(BadInput, match=r"f\.csv:2: its costs are in CAD"):
        derive([row("0.1", currency="CAD")], "USD")


@pytest.mark.parametrize(("text", "half"), [("0.25", "0.005"), ("8E-8", "0.000000005"), ("24", "0"), ("0.1350", "0.00005")])
def test_half_a_unit_of_the_last_digit(text: str, half: str) -> None:
    assert half_unit(text) == money(half)


def test_the_rows_of_the_demo_give_two_valid_books() -> None:
    rows = read_rows(SOURCES)
    assert (len(rows), sum(r.event is None for r in rows)) == (1_354, 13)
    derived = derive(rows, "USD")
    assert len(parse_price_book(derived.text, "b").prices) == 220
    assert derived.rounding == "down"
    assert len(parse_price_book(derive(read_rows(OTHER_CURRENCY), "CAD").text, "b").prices) == 27
