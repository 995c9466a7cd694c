"""One unit price for every unit beyond the free allowance. Each window is charged by itself."""

from __future__ import annotations

from decimal import Decimal

from ..money import ZERO
from ..price import Component, Price, Quantities

__all__ = ["charge", "tier_quantities"]


def tier_quantities(price: Price, quantities: Quantities) -> list[Decimal]:
    """How a cumulative total (in price.unit) falls into price.tiers: the free allowance, if there is one, then the rest."""
    total = quantities.get(0, ZERO)
    if len(price.tiers) == 1:
        return [total]
    free = price.free_quantity
    return [total, ZERO] if total <= free else [free, total - free]


def charge(price: Price, quantities: Quantities) -> tuple[list[Decimal], list[Component]]:
    """Amount of each tier, and the components that are not charged by window: none under a unit price."""
    return [quantity * tier.unit_price for quantity, tier in zip(tier_quantities(price, quantities), price.tiers, strict=True)], []
