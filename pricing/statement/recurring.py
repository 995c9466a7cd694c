"""Recurring fees: so much per month, for the part of the month in which they hold."""

from __future__ import annotations

from ..money import ZERO, money
from .ledger import Ledger
from .proration import prorated
from .terms import Charge, Fee, Fees, meets

__all__ = ["apply_fees"]

ONE = money(1)


def apply_fees(step: Fees, fees: tuple[Fee, ...], ledger: Ledger) -> None:
    """One line item per fee, due from the first day of the month on. The key is the fee's id."""
    for fee in fees:
        if not meets(fee, ledger.start, ledger.end):
            continue
        amounts = prorated(fee.amount, fee.prorate, fee.digits, fee.since, fee.until, ledger.bounds)
        cost = sum(amounts, ZERO)
        start, end = max(ledger.start, fee.since), ledger.end if fee.until is None else min(ledger.end, fee.until)
        description = fee.description or fee.id
        ledger.post(Charge(step.id, fee.id, "Purchase", fee.sku, ONE, "Months", cost, cost, description, start, end, True), amounts)
