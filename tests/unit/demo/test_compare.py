"""The comparison with the providers' costs holds for our line items, and notices every kind of fault."""

from __future__ import annotations

from collections.abc import Callable
from decimal import localcontext
from typing import Any

import pytest
from ratemill.demo.compare import Comparison, compare
from ratemill.demo.derive import derive
from ratemill.demo.reconcile import differences, offline_items, statements
from ratemill.demo.rows import OTHER_CURRENCY, SOURCES, read_rows
from ratemill.pricing import parse_price_book
from ratemill.pricing.money import EXACT, money, plain

Items = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rated() -> Items:
    with localcontext(EXACT):
        book = parse_price_book(derive(read_rows(), "USD").text, "b")
        return offline_items(SOURCES, book, 3_600)[0]


def compared(items: Items) -> Comparison:
    with localcontext(EXACT):
        rows = read_rows()
        derived = derive(rows, "USD")
        return compare(rows, items, 3_600, derived.rounding, derived.rates)


def test_every_sum_is_the_providers(rated: Items) -> None:
    found = compared(rated)
    assert found.holds
    assert found.count("aws") == {"matches": 1_176, "explained": 93, "not usage": 12}
    assert found.count("azure") == {"matches": 26, "explained": 1, "unverifiable": 1, "duplicate": 10, "not usage": 1}
    assert found.count("gcp") == {"matches": 10, "unverifiable": 24}


def test_another_currency_has_a_book_of_its_own() -> None:
    with localcontext(EXACT):
        rows = read_rows(OTHER_CURRENCY)
        derived = derive(rows, "CAD")
        items, totals = offline_items(OTHER_CURRENCY, parse_price_book(derived.text, "b"), 3_600)
        found = compare(rows, items, 3_600, derived.rounding, derived.rates)
    assert {item["BillingCurrency"] for item in items} == {"CAD"}
    assert totals.counted == 27
    assert found.holds
    assert found.count("azure") == {"matches": 27}


def _costly(items: Items) -> dict[str, Any]:
    return max(items, key=lambda item: money(item["BilledCost"]))


def _one_digit(items: Items) -> None:
    item = _costly(items)
    with localcontext(EXACT):
        item["BilledCost"] = plain(money(item["BilledCost"]) + money("1e-30"))


def _lost(items: Items) -> None:
    items.remove(_costly(items))


def _doubled(items: Items) -> None:
    items.append({**_costly(items), "x_LineItemId": "again"})


def _other_account(items: Items) -> None:
    _costly(items)["BillingAccountId"] = "somebody"


@pytest.mark.parametrize("fault", [_one_digit, _lost, _doubled, _other_account])
def test_a_fault_of_the_line_items_is_noticed(rated: Items, fault: Callable[[Items], None]) -> None:
    items = [dict(item) for item in rated]
    fault(items)
    assert not compared(items).holds


def test_statements_differ_in_what_they_say_only(rated: Items) -> None:
    other = [{**item, "x_Revision": 7} for item in rated]
    assert differences(statements(rated), statements(other)) == []
    other[3]["PricingQuantity"] += "0"
    assert differences(statements(rated), statements(other)) == [other[3]["x_LineItemId"]]
    assert differences(statements(rated), statements(rated[1:])) == [rated[0]["x_LineItemId"]]
