"""The least and the most that SKUs cost in a month."""

from __future__ import annotations

from ..money import ZERO
from .keys import key
from .ledger import Ledger, grouped, payable, take
from .terms import Maximum, Minimum

__all__ = ["apply_maximum", "apply_minimum"]


def apply_minimum(step: Minimum, ledger: Ledger) -> None:
    """A top-up to the minimum, which falls into the last slice: only then it is known."""
    if not (ledger.final or step.always):
        return
    rows = ledger.seen(step.skus)
    if not rows and not step.unused:
        return
    missing = step.amount - sum((amount for row in rows for amount in row.amounts), ZERO)
    if missing > ZERO:
        charge = ledger.whole(step.id, "top-up", "Adjustment", step.sku, missing, f"{step.description or step.id}: top-up to the minimum")
        ledger.post_about(step.skus, step.id, charge, ledger.at(-1, missing))


def apply_maximum(step: Maximum, ledger: Ledger) -> None:
    """A credit for what exceeds the maximum: SKU by SKU in the order listed, of each what came last."""
    found = payable(grouped(ledger.seen(step.skus), step.skus))
    excess = sum((amount for amounts in found.values() for amount in amounts), ZERO) - step.amount
    for sku, amounts in found.items():
        if excess <= ZERO:
            break
        taken = take(amounts, excess, latest_first=True)
        cost = -sum(taken, ZERO)
        excess += cost
        description = f"{step.description or step.id}: {sku} above the maximum"
        ledger.post(ledger.whole(step.id, key(sku), "Credit", sku, cost, description), [-amount for amount in taken])
