"""Discounts: a percentage of what SKUs come to, or an amount off them."""

from __future__ import annotations

from ..money import ZERO
from .keys import key
from .ledger import CHARGE, CORRECTION, Item, Ledger, grouped, payable, take
from .terms import Discount

__all__ = ["apply_discount"]


def apply_discount(step: Discount, ledger: Ledger) -> None:
    """One line item per SKU.

    A percentage is taken off corrections too: whoever has 10 % off has it on usage that came late, and gets back 90 % of what is
    taken back. An amount is taken off this month's charges, SKU by SKU in the order listed, and never more than there is.
    """
    if step.share is not None:
        for item, amounts in grouped(ledger.seen(step.skus, corrections=True), step.skus).items():
            reductions = [-amount * step.share for amount in amounts]
            charge = ledger.share(step.id, key(item), "Credit", item[0], -sum(amounts, ZERO), step.share, describe(step, item))
            ledger.post(charge, reductions, CORRECTION if item[1] else CHARGE)
        return
    left = step.amount or ZERO
    for item, amounts in payable(grouped(ledger.seen(step.skus, corrections=False), step.skus)).items():
        taken = take(amounts, left)
        cost = -sum(taken, ZERO)
        left += cost
        ledger.post(ledger.whole(step.id, key(item), "Credit", item[0], cost, describe(step, item)), [-amount for amount in taken])


def describe(step: Discount, item: Item) -> str:
    """What the line item says."""
    return f"{step.description or step.id}: {'corrections of ' if item[1] else ''}{item[0]}"
