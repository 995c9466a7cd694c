"""Credits: what they pay, in which order, until when, and what is left."""

from __future__ import annotations

from typing import Any

import pytest

APRIL, MAY, JUNE, DAY = 1_775_001_600, 1_777_593_600, 1_780_272_000, 86_400


def grants(*credits: str, order: str = "expiry", before: str = "", after: str = "", account: str = "") -> str:
    """A tariff in which acct-1 has credits that began on 1 January 2026 unless they say otherwise, and expire in 2027."""
    listed = ""
    for credit in credits:
        since = "" if "effective_from" in credit else ", effective_from: 2026-01-01T00:00:00Z"
        until = "" if "expires" in credit else ", expires: 2027-01-01T00:00:00Z"
        listed += f"\n      - {{{credit}{since}{until}}}"
    return f"""
adjustments: [{before}{{id: pay, type: credits, order: {order}}}{after}]
accounts:
  - account: acct-1{account}
    credits: {listed}
"""


ONE = grants('id: g, amount: "100", description: Welcome')


def test_a_credit_pays_what_is_due(month: Any) -> None:
    made = month(ONE, {"a": "30", "b": "20"}, final=False)
    assert made.lines == {"pay used/g/sku/a": "-30", "pay used/g/sku/b": "-40"}
    assert (made.due, made.closing) == ("0", {"g": "30"})
    line = made.line("pay used/g/sku/b")
    assert (line.category, line.quantity, line.unit, line.unit_price, line.description) == ("Credit", -40, "USD", 1, "Welcome: b")
    made = month(ONE, {"a": "70", "b": "20"})
    assert made.lines == {"pay used/g/sku/a": "-70", "pay used/g/sku/b": "-30"}
    assert (made.due, made.closing) == ("10", {"g": "0"})


def test_balances_carry_from_month_to_month(month: Any) -> None:
    first = month(ONE, {"a": "70"})
    assert first.closing == {"g": "30"}
    second = month(ONE, {"a": "50"}, opening=first.closing, start=MAY, end=JUNE)
    assert second.lines == {"pay used/g/sku/a": "-30"}
    assert second.closing == {"g": "0"}
    third = month(ONE, {"a": "50"}, opening=second.closing, start=JUNE, end=JUNE + 30 * DAY)
    assert (third.lines, third.closing) == ({}, {"g": "0"})


def test_an_unused_month_leaves_the_balance_and_is_not_due(month: Any) -> None:
    made = month(ONE, {}, opening={"g": "12.5"})
    assert (made.lines, made.closing) == ({}, {"g": "12.5"})
    assert not made.terms.due(APRIL, MAY)


@pytest.mark.parametrize(("opening", "closing"), [("1000", "70"), ("-5", "0"), ("99", "69")])
def test_a_balance_is_never_more_than_the_amount_nor_less_than_nothing(month: Any, opening: str, closing: str) -> None:
    assert month(ONE, {"a": "30"}, opening={"g": opening}).closing == {"g": closing}


def test_what_is_left_is_forfeited_at_expiry(month: Any) -> None:
    text = grants('id: g, amount: "100", expires: 2026-05-01T00:00:00Z')
    assert month(text, {"a": "30"}).closing == {"g": "0"}
    after = month(text, {"a": "30"}, opening={"g": "70"}, start=MAY, end=JUNE)
    assert (after.lines, after.closing) == ({}, {})


def test_before_it_begins_a_credit_is_not_there(month: Any) -> None:
    text = grants('id: g, amount: "100", effective_from: 2026-05-01T00:00:00Z')
    made = month(text, {"a": "30"})
    assert (made.lines, made.closing) == ({}, {})
    assert month(text, {"a": "30"}, start=MAY, end=JUNE).closing == {"g": "70"}


def test_a_credit_pays_only_what_was_used_while_it_was_valid(month: Any) -> None:
    text = grants('id: g, amount: "100", effective_from: 2026-04-11T00:00:00Z, expires: 2026-04-21T00:00:00Z')
    made = month(text, {"a": ["50", "20", "60"]})
    assert made.terms.cuts(APRIL, MAY) == (APRIL + 10 * DAY, APRIL + 20 * DAY)
    assert made.lines == {"pay used/g/sku/a": "-20"}
    line = made.line("pay used/g/sku/a")
    assert (line.start, line.end) == (APRIL + 10 * DAY, APRIL + 20 * DAY)


def test_credits_follow_each_other(month: Any) -> None:
    text = grants('id: old, amount: "100", expires: 2026-04-11T00:00:00Z', 'id: new, amount: "100", effective_from: 2026-04-11T00:00:00Z')
    made = month(text, {"a": ["120", "30"]})
    assert made.lines == {"pay used/old/sku/a": "-100", "pay used/new/sku/a": "-30"}
    assert (made.due, made.closing) == ("20", {"old": "0", "new": "70"})


def test_a_credit_pays_its_skus_in_the_order_listed(month: Any) -> None:
    text = grants('id: g, amount: "100", skus: [b, a]')
    assert month(text, {"a": "90", "b": "20", "c": "1"}).lines == {"pay used/g/sku/b": "-40", "pay used/g/sku/a": "-60"}


BOTH = ('id: p, amount: "50", discount: "20"', 'id: q, amount: "40", discount: "30"')
SOON = ('id: p, amount: "50", expires: 2026-07-01T00:00:00Z', 'id: q, amount: "40", discount: "30"')


@pytest.mark.parametrize(
    ("order", "credits", "first"),
    [
        ("expiry", SOON, "p"),  # soonest expiry before highest discount
        ("expiry", BOTH, "q"),  # then the highest discount
        ("expiry", ('id: p, amount: "50"', 'id: q, amount: "40"'), "q"),  # then the lowest balance
        ("expiry", ('id: q, amount: "40"', 'id: p, amount: "40"'), "p"),  # then the id
        ("discount", SOON, "q"),
        ("balance", ('id: p, amount: "50", discount: "20", expires: 2026-07-01T00:00:00Z', 'id: q, amount: "40"'), "q"),
        ("listed", ('id: q, amount: "50"', 'id: p, amount: "40", discount: "30", expires: 2026-07-01T00:00:00Z'), "q"),
    ],
)
def test_which_credit_is_used_first(month: Any, order: str, credits: tuple[str, ...], first: str) -> None:
    made = month(grants(*credits, order=order), {"a": "10"})
    assert made.lines == {f"pay used/{first}/sku/a": "-10"}


def test_the_lowest_balance_is_that_of_the_time(month: Any) -> None:
    text = grants('id: p, amount: "50"', 'id: q, amount: "40"')
    assert month(text, {"a": "10"}, opening={"p": "5"}).lines == {"pay used/p/sku/a": "-5", "pay used/q/sku/a": "-5"}


def test_credits_together_never_pay_more_than_is_due(month: Any) -> None:
    assert month(ONE, {"a": "80", "b": "-10"}).lines == {"pay used/g/sku/a": "-60"}
    assert month(ONE, {"a": "80", "b": "-50"}).lines == {}


def test_usage_taken_back_later_is_not_paid(month: Any) -> None:
    text = grants('id: g, amount: "100", expires: 2026-04-11T00:00:00Z')
    assert month(text, {"a": ["80", "-30"]}).lines == {"pay used/g/sku/a": "-50"}
    # The total falls from 10 to 6 when it crosses the bound of the volume tier.
    made = month(text, {"v": ["10", "2"]})
    assert (made.lines, made.due) == ({"pay used/g/sku/v": "-6"}, "0")


def test_what_is_only_known_at_the_end_is_paid_by_what_is_valid_then(month: Any) -> None:
    minimum = '{id: least, type: minimum_spend, amount: "50"}, '
    early = grants('id: g, amount: "100", expires: 2026-04-11T00:00:00Z', before=minimum)
    assert month(early, {"a": ["30", ""]}).lines == {"least top-up": "20", "pay used/g/sku/a": "-30"}
    assert month(grants('id: g, amount: "100"', before=minimum), {"a": "30"}).lines["pay used/g/sku/least"] == "-20"


def test_a_prepaid_credit_is_bought_at_its_discount_and_no_credit_pays_it(month: Any) -> None:
    bought = 'id: g, amount: "100", discount: "10", prepaid: true, effective_from: 2026-04-11T00:00:00Z'
    text = grants(bought, 'id: other, amount: "500"', after=", {id: off, type: discount, percent: \"50\"}")
    made = month(text, {"a": ["", "30"]})
    # Both expire together; g has the higher discount.
    assert made.lines == {"pay purchase/g": "90", "pay used/g/sku/a": "-30"}
    line = made.line("pay purchase/g")
    assert (line.category, line.sku, line.quantity, str(line.unit_price), line.start) == ("Purchase", "g", 100, "0.9", APRIL + 10 * DAY)
    assert made.terms.due(APRIL, MAY)
    assert not made.terms.due(MAY, JUNE)
    assert month(text, {"a": "30"}, start=MAY, end=JUNE).lines == {"pay used/g/sku/a": "-30"}


def test_a_purchase_is_in_the_rounded_total(month: Any) -> None:
    text = grants(
        'id: g, amount: "0.5", discount: "0.5", prepaid: true, effective_from: 2026-04-01T00:00:00Z',
        after=", {id: rounding, type: rounding, digits: 2}",
    )
    assert month(text, {}).lines == {"pay purchase/g": "0.4975", "rounding total": "0.0025"}


def test_the_place_in_the_pipeline_says_what_credits_pay(month: Any) -> None:
    discount = '{id: off, type: discount, percent: "50"}'
    assert month(grants('id: g, amount: "100"', before=f"{discount}, "), {"a": "80"}).closing == {"g": "60"}
    made = month(grants('id: g, amount: "60"', after=f", {discount}"), {"a": "80"})
    assert made.lines == {"pay used/g/sku/a": "-60", "off sku/a": "-10"}


def test_amounts_of_credits_are_in_the_currency_of_the_account(month: Any) -> None:
    made = month(grants('id: g, amount: "100"', account="\n    currency: EUR"), {"a": "80"})
    assert (made.lines, made.closing) == ({"pay used/g/sku/a": "-72"}, {"g": "28"})


def test_a_credit_without_expiry_stays(month: Any) -> None:
    text = grants('id: g, amount: "100", expires: ~')
    assert month(text, {"a": "30"}).closing == {"g": "70"}
