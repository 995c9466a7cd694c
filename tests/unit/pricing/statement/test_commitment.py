"""Commitments: shortfall, overage, prepaid, and the part of a month."""

from __future__ import annotations

from typing import Any

APRIL, MAY, DAY = 1_775_001_600, 1_777_593_600, 86_400


def committed(fields: str, *more: str, before: str = "", after: str = "") -> str:
    """A tariff in which acct-1 has commitments."""
    listed = "".join(f"\n      - {{per: month, {one}}}" for one in (fields, *more))
    return f"""
adjustments: [{before}{{id: commit, type: commitment}}{after}]
accounts:
  - account: acct-1
    commitments: {listed}
"""


PLAIN = committed('id: year, amount: "100"')


def test_a_shortfall_is_charged_when_the_month_is_over(month: Any) -> None:
    made = month(PLAIN, {"a": "60", "b": "10"})
    assert made.lines == {"commit shortfall/year": "20"}
    assert made.due == "100"
    line = made.line("commit shortfall/year")
    assert (line.sku, line.category, line.recurring) == ("year", "Adjustment", True)
    assert month(PLAIN, {"a": "60"}, final=False).lines == {}
    assert month(PLAIN, {"a": "60", "b": "20"}).lines == {}


def test_a_shortfall_is_due_without_any_use(month: Any) -> None:
    made = month(PLAIN, {})
    assert made.lines == {"commit shortfall/year": "100"}
    assert made.terms.due(APRIL, MAY)
    assert made.book.contracts == ("acct-1",)


def test_a_shortfall_that_is_always_due_shows_while_the_month_runs(month: Any) -> None:
    assert month(committed('id: year, amount: "100", due: always'), {"a": "60"}, final=False).lines == {"commit shortfall/year": "40"}


def test_a_commitment_of_some_skus_counts_these(month: Any) -> None:
    made = month(committed('id: year, amount: "100", skus: [b]'), {"a": "500", "b": "10"})
    assert made.lines == {"commit shortfall/year": "80"}
    assert made.costs == {"a": 500, "b": 100}


def test_what_exceeds_the_commitment_may_cost_more_or_less(month: Any) -> None:
    more = month(committed('id: year, amount: "100", overage: {surcharge: "20"}'), {"a": "60", "b": "50"})
    # 160 in all; a fills 60 of the commitment and b 40, so 60 of b exceed it.
    assert more.lines == {"commit overage/year/sku/b": "12"}
    assert (more.charges[0].category, str(more.charges[0].quantity), str(more.charges[0].unit_price)) == ("Usage", "60", "0.2")
    less = month(committed('id: year, amount: "100", overage: {discount: "20"}, skus: [b, a]'), {"a": "60", "b": "60"})
    # b comes first: it fills the commitment with 100 of 120, and exceeds it by 20; all 60 of a do.
    assert less.lines == {"commit overage/year/sku/b": "-4", "commit overage/year/sku/a": "-12"}
    assert less.charges[0].category == "Credit"
    assert month(committed('id: year, amount: "100", overage: {discount: "20"}'), {"a": "100"}).lines == {}


def test_prepaid_is_charged_whole_and_drawn_down(month: Any) -> None:
    prepaid = committed('id: year, amount: "100", prepaid: true')
    made = month(prepaid, {"a": "30", "b": "10"}, final=False)
    assert made.lines == {"commit purchase/year": "100", "commit drawn/year/sku/a": "-30", "commit drawn/year/sku/b": "-20"}
    assert made.due == "100"
    line = made.line("commit purchase/year")
    assert (line.category, line.unit, line.quantity, line.recurring) == ("Purchase", "Months", 1, True)
    assert month(prepaid, {"a": "90", "b": "10"}).lines == {
        "commit purchase/year": "100",
        "commit drawn/year/sku/a": "-90",
        "commit drawn/year/sku/b": "-10",
    }
    assert month(prepaid, {}).due == "100"


def test_prepaid_and_in_arrears_come_to_the_same(month: Any) -> None:
    for usage in ({}, {"a": "99"}, {"a": "100"}, {"a": "150", "b": "10"}):
        for overage in ("", ', overage: {surcharge: "50"}'):
            arrears = month(committed(f'id: year, amount: "100"{overage}'), usage)
            assert month(committed(f'id: year, amount: "100", prepaid: true{overage}'), usage).due == arrears.due


def test_a_commitment_for_part_of_the_month_is_prorated_and_counts_that_part(month: Any) -> None:
    text = committed('id: year, amount: "90", effective_to: 2026-04-11T00:00:00Z')
    made = month(text, {"a": ["10", "500"]})
    assert made.terms.cuts(APRIL, MAY) == (APRIL + 10 * DAY,)
    # 10 of 30 days: 30, of which 10 were used; what came later does not count.
    assert made.lines == {"commit shortfall/year": "20"}
    line = made.line("commit shortfall/year")
    assert (line.start, line.end) == (APRIL, APRIL + 10 * DAY)
    whole = text.replace("amount", "prorate: none, amount")
    assert month(whole, {"a": ["10", "500"]}).lines == {"commit shortfall/year": "80"}


def test_one_commitment_follows_another(month: Any) -> None:
    text = committed('id: old, amount: "90", effective_to: 2026-04-11T00:00:00Z', 'id: new, amount: "300", effective_from: 2026-04-11T00:00:00Z')
    assert month(text, {"a": ["10", "50"]}).lines == {"commit shortfall/old": "20", "commit shortfall/new": "150"}


def test_a_commitment_within_another_counts_for_it(month: Any) -> None:
    text = committed('id: inner, amount: "40", skus: [b]', 'id: outer, amount: "100"')
    assert month(text, {"a": "20", "b": "10"}).lines == {"commit shortfall/inner": "20", "commit shortfall/outer": "40"}


def test_the_place_in_the_pipeline_says_what_counts(month: Any) -> None:
    discount = '{id: partner, type: discount, percent: "50"}'
    before = month(committed('id: year, amount: "100"', before=f"{discount}, "), {"a": "100"})
    assert before.lines == {"partner sku/a": "-50", "commit shortfall/year": "50"}
    after = month(committed('id: year, amount: "100"', after=f", {discount}"), {"a": "100"})
    assert after.lines == {"partner sku/a": "-50"}


def test_amounts_of_an_account_are_in_its_currency(month: Any) -> None:
    text = PLAIN.replace("account: acct-1", "account: acct-1\n    currency: EUR")
    assert month(text, {"a": "60"}).lines == {"commit shortfall/year": "46"}
