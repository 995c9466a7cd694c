"""The pipeline as a whole: order, purity, errors, and what Terms say about a month."""

from __future__ import annotations

from decimal import localcontext
from typing import Any

import pytest
from ratemill.pricing import parse_price_book
from ratemill.pricing.exchange import ExchangeRate, ExchangeRates
from ratemill.pricing.money import EXACT, ZERO, money
from ratemill.pricing.statement import Terms, Usage, statement
from ratemill.pricing.statement.terms import Discount, Maximum, Minimum, Uplift, UpliftTier
from ratemill.pricing.statement.terms_checks import MOST_PERCENTAGES

APRIL, MAY, DAY = 1_775_001_600, 1_777_593_600, 86_400

# Elastic Cloud in small: shared transfer, a partner's discount, support, prepaid credits, cents.
WHOLE = """
adjustments:
  - {id: pool, type: allowance, skus: [a, b], unit: GB, quantity: "100"}
  - {id: partner, type: discount, percent: "10", skus: [c]}
  - {id: commit, type: commitment}
  - {id: support, type: uplift, percent: "7.5", of: all, minimum: "10"}
  - {id: pay, type: credits}
  - {id: cents, type: rounding, digits: 2}
accounts:
  - account: acct-1
    recurring: [{id: platform, sku: acme.platform, amount: "20"}]
    commitments: [{id: year, amount: "80", per: month, skus: [a, b, c]}]
    credits: [{id: g, amount: "50", effective_from: 2026-04-11T00:00:00Z, expires: 2026-04-21T00:00:00Z}]
"""


def test_a_month_from_end_to_end(month: Any) -> None:
    made = month(WHOLE, {"a": ["60", "10", "10"], "b": ["", "30", ""], "c": ["4", "5", "1.251"]})
    # a is free, and 20 of b; left are 20 of b (10 GB) and 12 + 15 + 3 + 0.251 = 30.251 of c, less 3.0251.
    # The commitment of 80 counts 47.2259 and misses 32.7741. Support: 7.5 % of 20 + 80.
    # In the ten days of the credit: fee 20 / 3, b 20, c 13.5, and 7.5 % of these.
    assert made.lines == {
        "recurring platform": "20",
        "pool sku/a": "-80",
        "pool sku/b": "-40",
        "partner sku/c": "-3.0251",
        "commit shortfall/year": "32.7741",
        "support tier-1": "7.5",
        "support minimum": "2.5",
        "pay used/g/sku/acme.platform": "-6.666666666",
        "pay used/g/sku/b": "-20",
        "pay used/g/sku/c": "-13.5",
        "pay used/g/sku/support": "-3.01249999995",
        "cents total": "-0.00083333405",
    }
    assert made.due == "66.82"
    assert made.closing == {"g": "0"}


def test_without_terms_there_is_nothing(month: Any) -> None:
    book = month(WHOLE, {"a": ["1", "", ""]}).book
    assert {step.id for step in book.terms_of("someone").steps} == {"pool", "partner", "support", "cents"}
    assert month('adjustments: [{id: d, type: discount, percent: "1", accounts: [acct-1]}]', {"a": "1"}).book.terms_of("someone") is None


def test_the_order_of_the_input_changes_nothing(month: Any) -> None:
    made = month(WHOLE, {"a": ["60", "", "10"], "b": ["", "30", ""], "c": ["4", "5", "1.25"]})
    again = statement(made.terms, APRIL, MAY, made.usage[::-1], {}, True)
    assert again.charges == made.charges


def test_the_context_of_the_caller_changes_nothing(month: Any) -> None:
    with localcontext(prec=28):  # one that would round
        made = month(WHOLE, {"a": ["60", "", "10"], "c": ["4.000000000000000000000000000001", "5", "1.25"]})
    assert made.lines["partner sku/c"] == "-3.0250000000000000000000000000001", "a tenth of what lies beyond the 10 GB"


def test_usage_in_other_slices_is_refused(month: Any) -> None:
    made = month(WHOLE, {"a": ["1", "", ""]})
    usage = [made.usage[0]._replace(slices=made.usage[0].slices[:2])]
    with pytest.raises(ValueError, match="usage of a comes in 2 slices, and the month has 3"):
        statement(made.terms, APRIL, MAY, usage, {}, True)


def test_unpriced_usage_costs_nothing_and_is_use(month: Any) -> None:
    made = month('adjustments: [{id: least, type: minimum_spend, amount: "5"}]', {"nothing": "7"})
    assert made.usage[0].price is None
    assert made.lines == {"least top-up": "5"}


def test_a_stretch_without_use_is_none(month: Any) -> None:
    assert month('adjustments: [{id: least, type: minimum_spend, amount: "5"}]', {"a": ""}).lines == {}


def test_cuts_are_instants_inside_the_month(month: Any) -> None:
    terms = month(WHOLE, {"a": ["1", "", ""]}).terms
    assert terms.cuts(APRIL, MAY) == (APRIL + 10 * DAY, APRIL + 20 * DAY)
    assert terms.cuts(APRIL + 10 * DAY, APRIL + 20 * DAY) == terms.cuts(MAY, MAY + DAY) == ()


def test_before_the_first_rate_steps_with_amounts_are_left_out() -> None:
    rates = ExchangeRates((ExchangeRate("EUR", money("0.5"), 24_316),))  # from May 2026
    steps = (
        Discount("share", money("0.1"), None),
        Discount("amount", None, money(10)),
        Minimum("least", "least", money(50)),
        Maximum("most", money(50)),
        Uplift("up", "up", (UpliftTier(None, money("0.1")),)),
        Uplift("tiers", "tiers", (UpliftTier(money(10), money("0.1")), UpliftTier(None, ZERO))),
        Uplift("minimum", "minimum", (UpliftTier(None, money("0.1")),), minimum=money(10)),
    )
    terms = Terms("digest", "EUR", steps, exchange=rates)
    assert [step.id for step in terms.steps_in(24_315)] == ["share", "up"]
    may = terms.steps_in(24_316)
    assert may[1:4] == (Discount("amount", None, money(5)), Minimum("least", "least", money(25)), Maximum("most", money(25)))
    assert may[5:] == (
        Uplift("tiers", "tiers", (UpliftTier(money(5), money("0.1")), UpliftTier(None, ZERO))),
        Uplift("minimum", "minimum", (UpliftTier(None, money("0.1")),), minimum=money(5)),
    )
    assert terms.steps_in(24_317) is not terms.steps, "and they stay converted"
    assert terms.steps_in(24_317) == may


@pytest.mark.parametrize("kind", ['discount, percent: "0.999999"', 'uplift, of: all, percent: "999.999999"'])
def test_the_largest_amounts_have_room_for_as_many_percentages_as_there_may_be(kind: str) -> None:
    most = "9" * 30 + "." + "9" * 30
    steps = "".join(f"  - {{id: d{number}, type: {kind}}}\n" for number in range(MOST_PERCENTAGES))
    book = parse_price_book(
        f"""
currency: USD
exchange_rates: [{{currency: EUR, rate: "{most}"}}]
prices: [{{id: p, sku: s, unit: GB, model: dynamic, price_field: x, markup: "{most}"}}]
adjustments:
{steps}
accounts: [{{account: acct-1, currency: EUR, recurring: [{{id: f, sku: fee, amount: "{most}", effective_from: 2026-04-02T00:07:00Z}}]}}]
""",
        "tariff.yaml",
    )
    price, terms = book.price_at("s", "GB", APRIL * 10**9, "acct-1"), book.terms_of("acct-1")
    assert price is not None
    assert terms is not None
    amount = EXACT.multiply(money("9" * 60 + "." + "9" * 61), money(most))
    # Every operation raises where a digit would be lost.
    charges = statement(terms, APRIL, MAY, [Usage("s", "GB", price, APRIL, MAY, ({0: amount},), True)], {}, True).charges
    assert max(len(charge.cost.as_tuple().digits) for charge in charges) > 300
