"""Uplifts: a percentage of other charges, such as support; one for all of the amount, or tiers of it, each at its own."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ..money import ZERO
from .ledger import Ledger, Row
from .terms import Uplift, UpliftTier

__all__ = ["apply_uplift"]


def apply_uplift(step: Uplift, ledger: Ledger) -> None:
    """One line item per tier, and a top-up to the minimum. Of an amount below zero there is no uplift, and none is given back."""
    rows = selected(step, ledger)
    if not rows and not step.unused:
        return
    through = before = ZERO
    parts = [ZERO] * len(step.tiers)
    amounts = []
    for number in range(ledger.slices):
        through += sum((row.amounts[number] for row in rows), ZERO)
        parts = in_tiers(step.tiers, max(through, ZERO))
        cost = sum((part * tier.share for part, tier in zip(parts, step.tiers, strict=True)), ZERO)
        amounts.append(cost - before)
        before = cost
    label = step.description or step.id
    lines = [
        ledger.share(step.id, f"tier-{number}", "Usage", step.sku, part, tier.share, label if len(parts) == 1 else f"{label}: tier {number}")
        for number, (part, tier) in enumerate(zip(parts, step.tiers, strict=True), 1)
    ]
    ledger.charges += [line for line in lines if line.cost]
    missing = ZERO
    if step.minimum is not None and before < step.minimum and (ledger.final or step.always):
        missing = step.minimum - before
        ledger.charges.append(ledger.whole(step.id, "minimum", "Adjustment", step.sku, missing, f"{label}: top-up to the minimum"))
        amounts[-1] += missing
    if any(amounts):
        ledger.rows.append(Row(step.sku, step.id, amounts))


def selected(step: Uplift, ledger: Ledger) -> list[Row]:
    """The rows of which it is a percentage: those of its SKUs and those of its adjustments, each once."""
    if not step.of_skus and not step.of_adjustments:
        return ledger.seen(())
    wanted = frozenset(step.of_skus)
    return [row for row in ledger.rows if not row.bought and (row.origin in step.of_adjustments or ledger.sees(wanted, row.sku))]


def in_tiers(tiers: Sequence[UpliftTier], amount: Decimal) -> list[Decimal]:
    """How an amount that is not negative falls into the tiers."""
    parts = []
    lower = ZERO
    for tier in tiers:
        upper = amount if tier.upper is None else min(amount, tier.upper)
        parts.append(max(upper - lower, ZERO))
        lower = upper if tier.upper is None else tier.upper
    return parts
