"""What each part of an accumulation period costs, when the period is cut at some instants: exactly, and the parts sum to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext

from .models import period_cost
from .money import EXACT, ZERO
from .price import Price, Quantities

__all__ = ["slice_costs", "together"]


def together(slices: Sequence[Quantities]) -> Quantities:
    """Quantity per cell in all slices. The caller's decimal context must be exact."""
    if len(slices) == 1:
        return slices[0]
    found: dict[int, Decimal] = {}
    for quantities in slices:
        for cell, quantity in quantities.items():
            found[cell] = found.get(cell, ZERO) + quantity
    return found


def slice_costs(price: Price, slices: Sequence[Quantities], used: bool, *, final: bool) -> list[Decimal]:
    """Cost of each chronological slice of a period: what it adds, cost(all through it) - cost(all before it).

    slices: quantity per cell within each slice, an empty mapping where nothing was used. The costs sum to
    period_cost(price, Σ slices, used, final=final) exactly (without a slice there is nothing to sum). A minimum falls to the
    first slice that was used, unless it is due when the period ends: then it falls to the last one.
    """
    costs: list[Decimal] = []
    through: dict[int, Decimal] = {}
    before, any_use = ZERO, False
    with localcontext(EXACT):
        for number, quantities in enumerate(slices, 1):
            for cell, quantity in quantities.items():
                through[cell] = through.get(cell, ZERO) + quantity
            any_use = any_use or bool(quantities)
            last = number == len(slices)
            cost = period_cost(price, through, used and (any_use or last), final=final and last)
            costs.append(cost - before)
            before = cost
    return costs
