"""Balances: what the line items of credits and commitments add up to, corrections included, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ratemill.api.balance_view import Balance, balance_of
from ratemill.pricing.money import use_exact_arithmetic
from ratemill.pricing.statement.keys import joined, parts_of
from ratemill.sinks.costs import CostRow
from ratemill.sinks.periods import ClosedPeriods

pytestmark = pytest.mark.usefixtures("exact")
OCTOBER_CLOSED = ClosedPeriods("2026-10", "2026-11-02T00:00:00Z")


@pytest.fixture
def exact() -> None:
    use_exact_arithmetic()


def row(
    component: str, cost: str, period: str = "2026-11", category: str = "Credit", unit: str = "USD", quantity: str | None = None,
    corrected: str | None = None, adjustment: str | None = "pay", currency: str = "USD",
) -> CostRow:  # fmt: skip
    group = {"period": period, "corrected": corrected, "adjustment": adjustment, "component": component, "category": category, "unit": unit}
    return CostRow(group, currency, cost, cost, 1, 0, cost if quantity is None else quantity)


def balance(*rows: CostRow) -> Balance:
    return balance_of("acct", rows, OCTOBER_CLOSED)


def test_what_a_credit_paid_is_added_over_skus_and_months() -> None:
    found = balance(
        row("used/g1/sku/ram", "-10.000000000000000000000000000001", "2026-10"),
        row("used/g1/sku/disk", "-5", "2026-10"),
        row("used/g1/sku/ram", "-7"),
        row("used/g2/sku/ram", "-1"),
    )
    assert [(credit.id, credit.used, credit.bought, credit.left) for credit in found.credits] == [
        ("g1", "22.000000000000000000000000000001", None, None), ("g2", "1", None, None),
    ]  # fmt: skip
    months = [(month.period, month.status, month.used) for month in found.credits[0].months]
    assert months == [("2026-10", "final", "15.000000000000000000000000000001"), ("2026-11", "estimate", "7")]
    assert found.commitments == []


def test_a_correction_is_of_the_month_that_it_corrects_and_an_estimate_while_its_own_is_open() -> None:
    (credit,) = balance(row("used/g/sku/ram", "-10", "2026-10"), row("used/g/sku/ram", "4", corrected="2026-10")).credits
    assert [(month.period, month.status, month.used) for month in credit.months] == [("2026-10", "estimate", "6")]


def test_a_bought_credit_has_what_is_left_of_it() -> None:
    (credit,) = balance(row("purchase/g", "4500", category="Purchase", quantity="5000"), row("used/g/sku/ram", "-120.5")).credits
    assert (credit.bought, credit.paid, credit.used, credit.left) == ("5000", "4500", "120.5", "4879.5")


def test_a_commitment_is_told_from_a_credit_of_the_same_name() -> None:
    found = balance(
        row("purchase/x", "100", category="Purchase", unit="Months", quantity="1"),
        row("drawn/x/sku/ram", "-60"),
        row("overage/x/sku/ram", "-2.5", quantity="-10"),
        row("shortfall/y", "30", category="Adjustment", unit="charge", quantity="1"),
        row("overage/y/sku/ram", "3", category="Usage", quantity="12"),
        row("used/x/sku/ram", "-1"),
    )
    assert [(c.id, c.used, c.bought) for c in found.credits] == [("x", "1", None)]
    assert [(c.id, c.purchased, c.drawn, c.shortfall, c.overage) for c in found.commitments] == [
        ("x", "100", "60", "0", "-2.5"), ("y", "0", "0", "30", "3"),
    ]  # fmt: skip


def test_currencies_are_never_added() -> None:
    found = balance(row("used/g/sku/ram", "-1"), row("used/g/sku/ram", "-2", unit="EUR", currency="EUR"))
    assert [(credit.currency, credit.used) for credit in found.credits] == [("EUR", "2"), ("USD", "1")]


@pytest.mark.parametrize(
    "other",
    [row("tier-1", "5", category="Usage", adjustment=None), row("sku/ram", "-5"), row("used/fee", "5", category="Purchase", unit="Months"),
     row("used/g/sku/ram", "-5", adjustment=None), row("used", "-5"), row("total", "-0.1", category="Adjustment")],
)  # fmt: skip
def test_nothing_else_counts(other: CostRow) -> None:
    assert balance(other) == Balance("acct", [], [])


@pytest.mark.parametrize("parts", [["used", "g/1", "sku", "a%2Fb"], ["%", "/"], ["a"], ["%25", ""]])
def test_a_key_is_read_back_as_its_parts(parts: Sequence[str]) -> None:
    assert parts_of(joined(*parts)) == parts
