"""Uplifts: percentages of other charges, single and in tiers."""

from __future__ import annotations

from typing import Any

SUPPORT = 'adjustments: [{id: support, type: uplift, percent: "10", of: all, minimum: "100"}]'
# AWS Support, Business: 10 % of the first 10,000, 7 % up to 80,000, 5 % up to 250,000, 3 % beyond, at least 100 a month.
TIERS = (
    'tiers: [{up_to: "10000", percent: "10"}, {up_to: "80000", percent: "7"}, {up_to: "250000", percent: "5"}, {percent: "3"}], minimum: "100"'
)
BUSINESS = f"adjustments: [{{id: support, type: uplift, of: all, {TIERS}}}]"


def test_a_percentage_of_everything(month: Any) -> None:
    made = month(SUPPORT, {"a": "1500.5"})
    assert made.lines == {"support tier-1": "150.05"}
    line = made.line("support tier-1")
    assert (line.sku, line.category, str(line.quantity), line.unit, str(line.unit_price)) == ("support", "Usage", "1500.5", "USD", "0.1")


def test_the_minimum_is_due_when_the_month_is_over(month: Any) -> None:
    assert month(SUPPORT, {"a": "300"}).lines == {"support tier-1": "30", "support minimum": "70"}
    assert month(SUPPORT, {"a": "300"}, final=False).lines == {"support tier-1": "30"}
    assert month(SUPPORT.replace("minimum", "due: always, minimum"), {"a": "300"}, final=False).due == "400"
    assert month(SUPPORT, {}).lines == {}
    unused = month(SUPPORT.replace("minimum", "charge_unused: true, minimum"), {})
    assert unused.lines == {"support minimum": "100"}
    assert unused.terms.due(1_775_001_600, 1_777_593_600)


def test_tiers_charge_each_part_at_its_own(month: Any) -> None:
    made = month(BUSINESS, {"a": "85000"})
    assert made.lines == {"support tier-1": "1000", "support tier-2": "4900", "support tier-3": "250"}
    assert month(BUSINESS, {"a": "10000"}).lines == {"support tier-1": "1000"}
    assert month(BUSINESS, {"a": "300000"}).due == str(300_000 + 1_000 + 4_900 + 8_500 + 1_500)
    assert month(BUSINESS, {"a": "10"}).lines == {"support tier-1": "1", "support minimum": "99"}


def test_of_says_whose_charges(month: Any) -> None:
    text = """
adjustments:
  - {id: partner, type: discount, percent: "10"}
  - {id: of-sku, type: uplift, percent: "10", of: [b]}
  - {id: of-adjustment, type: uplift, percent: "50", of: [of-sku]}
  - {id: of-both, type: uplift, percent: "1", of: [a, partner]}
"""
    made = month(text, {"a": "100", "b": "50"})
    # b comes to 90 after the discount. of-both: 100 of a, less its own discount of 10 (once), less that of b.
    assert made.lines == {
        "partner sku/a": "-10",
        "partner sku/b": "-10",
        "of-sku tier-1": "9",
        "of-adjustment tier-1": "4.5",
        "of-both tier-1": "0.8",
    }


def test_there_is_no_uplift_of_less_than_nothing(month: Any) -> None:
    text = 'adjustments: [{id: up, type: uplift, percent: "10", of: all}]'
    assert month(text, {"a": "-100"}).lines == {}
    assert month(text, {"a": "100", "b": "-20"}).lines == {"up tier-1": "6"}


def test_an_uplift_is_an_sku_that_later_adjustments_see(month: Any) -> None:
    text = """
adjustments:
  - {id: support, type: uplift, percent: "10", of: [a], sku: acme.support}
  - {id: off, type: discount, percent: "50", skus: [acme.support]}
  - {id: off-a, type: discount, percent: "50", skus: [a]}
"""
    made = month(text, {"a": "100"})
    assert made.lines == {"support tier-1": "10", "off sku/acme.support": "-5", "off-a sku/a": "-50"}


def test_bounds_and_minimum_are_converted(month: Any) -> None:
    text = 'adjustments: [{id: up, type: uplift, of: all, tiers: [{up_to: "100", percent: "10"}, {percent: "1"}], minimum: "50"}]'
    text += "\naccounts: [{account: acct-1, currency: EUR}]\n"
    # 200 USD are 180 EUR: 10 % of the first 90 EUR and 1 % of the other 90; the minimum is 45 EUR.
    assert month(text, {"a": "200"}).lines == {"up tier-1": "9", "up tier-2": "0.9", "up minimum": "35.1"}
