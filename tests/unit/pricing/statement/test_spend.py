"""Minimum and maximum spend."""

from __future__ import annotations

from typing import Any

import pytest

LEAST = 'adjustments: [{id: least, type: minimum_spend, amount: "50", description: Least}]'
MOST = 'adjustments: [{id: most, type: maximum_spend, amount: "70"}]'


def test_a_minimum_is_topped_up_when_the_month_is_over(month: Any) -> None:
    made = month(LEAST, {"a": "20", "b": "5"})
    assert made.lines == {"least top-up": "20"}
    assert made.due == "50"
    line = made.line("least top-up")
    assert (line.sku, line.category, line.unit, line.description) == ("least", "Adjustment", "charge", "Least: top-up to the minimum")
    assert month(LEAST, {"a": "20"}, final=False).lines == {}
    assert month(LEAST, {"a": "50"}).lines == month(LEAST, {"a": "51"}).lines == {}


def test_a_minimum_that_is_always_due_shows_while_the_month_runs(month: Any) -> None:
    always = LEAST.replace("amount", "due: always, amount")
    assert month(always, {"a": "20"}, final=False).lines == {"least top-up": "30"}


def test_a_minimum_needs_use_unless_it_says_otherwise(month: Any) -> None:
    assert month(LEAST, {}).lines == {}
    assert month(LEAST, {"a": "0"}).lines == {"least top-up": "50"}, "usage of 0 is use"
    unused = month(LEAST.replace("amount", "charge_unused: true, accounts: [acct-1], amount"), {})
    assert unused.lines == {"least top-up": "50"}
    assert unused.terms.due(1_775_001_600, 1_777_593_600)
    assert unused.book.contracts == ("acct-1",), "who pays a minimum without use is looked at without use"
    assert not month(LEAST, {}).terms.due(1_775_001_600, 1_777_593_600)


def test_a_minimum_of_some_skus_counts_these(month: Any) -> None:
    text = 'adjustments: [{id: least, type: minimum_spend, amount: "50", skus: [b]}]'
    made = month(text, {"a": "100", "b": "5"})
    assert made.lines == {"least top-up": "40"}
    assert made.costs == {"a": 100, "b": 50}, "of one SKU, the top-up is that SKU's"
    assert month(text, {"a": "100"}).lines == {}


def test_what_was_taken_back_is_missing_to_the_minimum(month: Any) -> None:
    assert month(LEAST, {"a": "-10"}).lines == {"least top-up": "60"}


def test_a_minimum_counts_what_discounts_left(month: Any) -> None:
    text = """
adjustments:
  - {id: partner, type: discount, percent: "10"}
  - {id: least, type: minimum_spend, amount: "50"}
"""
    assert month(text, {"a": "20"}).lines == {"partner sku/a": "-2", "least top-up": "32"}


def test_a_maximum_is_credited_sku_by_sku(month: Any) -> None:
    made = month(MOST, {"a": "60", "b": "50"})
    assert made.lines == {"most sku/a": "-60", "most sku/b": "-30"}
    assert made.due == "70"
    assert month(MOST.replace("amount", "skus: [b, a], amount"), {"a": "60", "b": "50"}).lines == {"most sku/b": "-90"}
    assert month(MOST, {"a": "70"}).lines == {}
    assert month(MOST.replace('"70"', '"0"'), {"a": "70", "c": "11"}).due == "0"


def test_a_maximum_does_not_wait_for_the_end(month: Any) -> None:
    assert month(MOST, {"a": "71"}, final=False).lines == {"most sku/a": "-1"}


def test_a_maximum_leaves_what_was_taken_back_alone(month: Any) -> None:
    made = month(MOST, {"a": "100", "b": "-5"})
    assert made.lines == {"most sku/a": "-20"}
    assert made.due == "70"


@pytest.mark.parametrize(("skus", "reduced"), [("[least]", "30"), ("[a, b]", "80"), ("[a, b, c]", "80"), ("[a]", "20"), ("[b]", None)])
def test_a_top_up_of_several_skus_is_seen_by_its_name_and_by_all_of_them(month: Any, skus: str, reduced: str | None) -> None:
    text = f"""
adjustments:
  - {{id: least, type: minimum_spend, amount: "50", skus: [a, b]}}
  - {{id: half, type: discount, percent: "100", skus: {skus}}}
"""
    made = month(text, {"a": "20"})
    # a costs 20 and the top-up is 30: [a, b] and [a, b, c] see both, [least] only the top-up, [a] only the usage.
    assert {"30": "20", "80": "0", "20": "30", None: "50"}[reduced] == made.due


def test_what_is_taken_off_a_top_up_is_seen_by_whoever_sees_the_top_up(month: Any) -> None:
    text = """
adjustments:
  - {id: least, type: minimum_spend, amount: "50", skus: [a, b]}
  - {id: first, type: discount, percent: "50", skus: [least]}
  - {id: second, type: discount, percent: "50", skus: [a, b]}
"""
    made = month(text, {"a": "20"})
    assert made.lines == {"least top-up": "30", "first sku/least": "-15", "second sku/a": "-10", "second sku/least": "-7.5"}


def test_a_top_up_shown_as_an_sku_of_its_own_is_seen_as_that(month: Any) -> None:
    text = """
adjustments:
  - {id: least, type: minimum_spend, amount: "50", skus: [a, b], sku: acme.least}
  - {id: both, type: discount, percent: "50", skus: [a, b]}
  - {id: own, type: discount, percent: "10", skus: [acme.least]}
"""
    assert month(text, {"a": "20"}).lines == {"least top-up": "30", "both sku/a": "-10", "own sku/acme.least": "-3"}
