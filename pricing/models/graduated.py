"""Graduated tiers: each unit has the price of the tier it falls in, so a window's cost is price(after it) - price(before it).

The units are charged window by window. What is left for the period is the flat price of every tier that was entered.
"""

from __future__ import annotations

from decimal import Decimal

from ..money import ZERO
from ..price import Component, Price, Quantities
from .adjustments import flat

__all__ = ["charge", "tier_quantities"]


def tier_quantities(price: Price, quantities: Quantities) -> list[Decimal]:
    """How a cumulative total (in price.unit) falls into price.tiers; a negative total is all in the first tier."""
    total = quantities.get(0, ZERO)
    parts: list[Decimal] = []
    lower = ZERO
    for tier in price.tiers:
        if parts and total <= lower:
            parts.append(ZERO)
        elif tier.upper is None or total <= tier.upper:
            parts.append(total - lower)
        else:
            parts.append(tier.upper - lower)
        if tier.upper is not None:
            lower = tier.upper
    return parts


def charge(price: Price, quantities: Quantities) -> tuple[list[Decimal], list[Component]]:
    """Amount of each tier, its flat price included, and the flat prices that are due as components."""
    total = quantities.get(0, ZERO)
    amounts: list[Decimal] = []
    components: list[Component] = []
    has_allowance = price.free_quantity > ZERO
    lower = ZERO
    for index, (tier, quantity) in enumerate(zip(price.tiers, tier_quantities(price, quantities), strict=True)):
        number = index + (not has_allowance)  # tiers count from 1; the free allowance is none of them
        amount = quantity * tier.unit_price
        if tier.flat_price and entered(price, number, lower, total):
            amount += tier.flat_price
            components.append(flat(tier, f"flat-{number}", f"{price.description or price.sku}: flat price of tier {number}"))
        amounts.append(amount)
        if tier.upper is not None:
            lower = tier.upper
    return amounts, components


def entered(price: Price, number: int, lower: Decimal, total: Decimal) -> bool:
    """Whether a total reaches into tier `number`, which begins at `lower`.

    Of the first tier no bound tells it: it begins with the first unit, or with any usage at all, as the price says.
    """
    if number == 1:
        return total > lower or price.flat_at_zero
    return total > lower or (total == lower and not price.inclusive)
