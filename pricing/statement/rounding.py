"""The month's total, rounded where the pipeline says so."""

from __future__ import annotations

from ..money import ZERO, round_to
from .ledger import Ledger
from .terms import RoundTotal

__all__ = ["apply_rounding"]


def apply_rounding(step: RoundTotal, ledger: Ledger) -> None:
    """The difference that rounding makes to the sum of all rows so far, purchases of credits included."""
    due = sum((amount for row in ledger.rows for amount in row.amounts), ZERO)
    difference = round_to(due, step.digits, step.mode) - due
    charge = ledger.whole(step.id, "total", "Adjustment", step.sku, difference, step.description or "rounding of the month")
    ledger.post(charge, ledger.at(-1, difference))
