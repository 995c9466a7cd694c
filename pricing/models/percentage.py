"""A percentage of an amount of money: quantity is the amount, and what is beyond the free allowance costs amount x percent / 100.

Each window is charged by itself. What is left for the period: the fixed fee, once; and what leads from the percentage to its
floor or its cap. Floor and fixed fee need something to charge: an amount beyond the allowance (the fee also comes with none, if
the price says `charge_flat_at_zero`). A fee per transaction is another thing: a meter's expression computes it from each event.
"""

from __future__ import annotations

from decimal import Decimal

from ..money import ZERO
from ..price import Component, Price, Quantities
from . import unit
from .adjustments import flat, signed

__all__ = ["charge", "tier_quantities"]

tier_quantities = unit.tier_quantities


def charge(price: Price, quantities: Quantities) -> tuple[list[Decimal], list[Component]]:
    """Amount of each tier (the last with floor, cap and fixed fee), and what of it is not charged by window."""
    total = quantities.get(0, ZERO)
    amounts, components = unit.charge(price, quantities)
    tier = price.tiers[-1]
    something = total > price.free_quantity
    limited = amounts[-1]
    if price.floor is not None and something and limited < price.floor:
        limited = price.floor
    if price.cap is not None and limited > price.cap:
        limited = price.cap
    step = limited - amounts[-1]
    if step > ZERO:
        component = signed(price, "floor", "Adjustment", step, "top-up to the least percentage")
    else:
        component = signed(price, "cap", "Credit", step, "credit above the highest percentage")
    if component is not None:
        components.append(component)
    if tier.flat_price and (something or price.flat_at_zero):
        limited += tier.flat_price
        components.append(flat(tier, "fixed-fee", f"{price.description or price.sku}: fixed fee"))
    return [*amounts[:-1], limited], components
