"""Discounts: a percentage of what SKUs come to, or an amount off them."""

from __future__ import annotations

from ..money import ZERO
from .keys import key
from .ledger import Ledger, grouped, payable, take
from .terms import Discount

__all__ = ["apply_discount"]


def apply_discount(step: Discount, ledger: Ledger) -> None:
    """One line item per SKU.

    A percentage is taken off what is below zero too: whoever has 10 % off gets back 90 % of what is taken back. An amount is
    taken off SKU by SKU in the order listed, and never more than there is.
    """
    label = step.description or step.id
    found = grouped(ledger.seen(step.skus), step.skus)
    if step.share is not None:
        for sku, amounts in found.items():
            charge = ledger.share(step.id, key(sku), "Credit", sku, -sum(amounts, ZERO), step.share, f"{label}: {sku}")
            ledger.post(charge, [-amount * step.share for amount in amounts])
        return
    left = step.amount or ZERO
    for sku, amounts in payable(found).items():
        taken = take(amounts, left)
        cost = -sum(taken, ZERO)
        left += cost
        ledger.post(ledger.whole(step.id, key(sku), "Credit", sku, cost, f"{label}: {sku}"), [-amount for amount in taken])
