"""Discounts: percentages and amounts, and whose charges they see."""

from __future__ import annotations

from typing import Any

PERCENT = 'adjustments: [{id: partner, type: discount, percent: "10", description: Partner}]'


def test_a_percentage_is_a_line_item_of_each_sku(month: Any) -> None:
    made = month(PERCENT, {"a": "100", "b": "50.5"})
    assert made.lines == {"partner sku/a": "-10", "partner sku/b": "-10.1"}
    assert made.due == "180.9"
    line = made.line("partner sku/b")
    assert (str(line.quantity), line.unit, str(line.unit_price), line.category) == ("-101.0", "USD", "0.1", "Credit")
    assert line.description == "Partner: b"


def test_only_its_skus_are_discounted(month: Any) -> None:
    made = month('adjustments: [{id: partner, type: discount, percent: "10", skus: [b]}]', {"a": "100", "b": "50"})
    assert made.lines == {"partner sku/b": "-10"}


def test_discounts_of_one_sku_compound_in_the_order_written(month: Any) -> None:
    both = 'adjustments: [{id: one, type: discount, percent: "50"}, {id: two, type: discount, amount: "30"}]'
    assert month(both, {"a": "100"}).lines == {"one sku/a": "-50", "two sku/a": "-30"}
    other = 'adjustments: [{id: two, type: discount, amount: "30"}, {id: one, type: discount, percent: "50"}]'
    assert month(other, {"a": "100"}).lines == {"two sku/a": "-30", "one sku/a": "-35"}


def test_a_percentage_is_taken_off_what_was_taken_back_too(month: Any) -> None:
    made = month(PERCENT, {"a": "100", "b": "-20"})
    assert made.lines == {"partner sku/a": "-10", "partner sku/b": "4"}
    assert made.due == "54"


def test_an_amount_is_taken_sku_by_sku_and_never_more_than_there_is(month: Any) -> None:
    listed = 'adjustments: [{id: welcome, type: discount, amount: "150", skus: [b, a]}]'
    assert month(listed, {"a": "100", "b": "60", "c": "1"}).lines == {"welcome sku/b": "-120", "welcome sku/a": "-30"}
    assert month(listed, {"a": "10", "b": "20"}).due == "0"
    everything = 'adjustments: [{id: welcome, type: discount, amount: "150"}]'
    assert month(everything, {"b": "60", "a": "100"}).lines == {"welcome sku/a": "-100", "welcome sku/b": "-50"}


def test_what_was_taken_back_counts_against_an_amount(month: Any) -> None:
    amount = 'adjustments: [{id: welcome, type: discount, amount: "150"}]'
    assert month(amount, {"a": "100", "b": "-20"}).lines == {"welcome sku/a": "-60"}
    assert month(amount, {"a": "100", "b": "-70"}).lines == {}


def test_a_discount_is_for_its_accounts_and_its_months(month: Any) -> None:
    text = 'adjustments: [{id: all, type: discount, percent: "1"}, {id: partner, type: discount, percent: "10", accounts: [acct-1]}]'
    assert set(month(text, {"a": "100"}).lines) == {"all sku/a", "partner sku/a"}
    assert set(month(text, {"a": "100"}, account="acct-2").lines) == {"all sku/a"}
    dated = 'adjustments: [{id: d, type: discount, percent: "10", effective_from: 2026-05-01T00:00:00Z, effective_to: 2026-06-01T00:00:00Z}]'
    april, may, june = 1_775_001_600, 1_777_593_600, 1_780_272_000
    starts = [april, may, june]
    assert [len(month(dated, {"a": "1"}, start=start, end=start + 28 * 86_400).lines) for start in starts] == [0, 1, 0]


def test_a_month_of_another_time_zone_is_the_same_month(month: Any) -> None:
    dated = 'adjustments: [{id: d, type: discount, percent: "10", effective_from: 2026-05-01T00:00:00Z}]'
    berlin_may = 1_777_593_600 - 7_200
    assert len(month(dated, {"a": "1"}, start=berlin_may, end=berlin_may + 31 * 86_400).lines) == 1
    assert len(month(dated, {"a": "1"}, start=berlin_may - 30 * 86_400, end=berlin_may).lines) == 0


def test_amounts_of_adjustments_are_converted_at_the_rate_of_the_month(month: Any) -> None:
    text = """
adjustments: [{id: welcome, type: discount, amount: "50"}]
accounts: [{account: acct-1, currency: EUR}]
"""
    assert month(text, {"a": "100"}).lines == {"welcome sku/a": "-45"}
    assert month(text, {"a": "100"}, start=1_777_593_600, end=1_780_272_000).lines == {"welcome sku/a": "-40"}
    assert month(text, {"a": "100"}, account="acct-2").lines == {"welcome sku/a": "-50"}
