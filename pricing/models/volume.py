"""Volume tiers: the whole quantity has the price of the tier its total falls in.

Crossing a bound reprices everything before it, so there is one charge for the period, restated as usage grows. The cost can
fall when a bound is crossed: vendors' prices do that, and it is not smoothed here.
"""

from __future__ import annotations

from decimal import Decimal

from ..money import ZERO
from ..price import Component, Price, Quantities
from .adjustments import flat

__all__ = ["charge", "tier_quantities"]


def charged_quantity(price: Price, total: Decimal) -> Decimal:
    """What is left of a total after the free allowance; without one, the total itself, also below zero."""
    if price.free_quantity == ZERO:
        return total
    return max(total - price.free_quantity, ZERO)


def tier_of(price: Price, charged: Decimal) -> int:
    """Index of the tier in which the charged quantity falls as a whole."""
    for index, tier in enumerate(price.tiers):
        if tier.upper is None or charged < tier.upper or (charged == tier.upper and price.inclusive):
            return index
    return len(price.tiers) - 1


def tier_quantities(price: Price, quantities: Quantities) -> list[Decimal]:
    """How a period's total (in price.unit) falls into price.tiers: all that is charged lies in one of them."""
    charged = charged_quantity(price, quantities.get(0, ZERO))
    parts = [ZERO] * len(price.tiers)
    parts[tier_of(price, charged)] = charged
    return parts


def charge(price: Price, quantities: Quantities) -> tuple[list[Decimal], list[Component]]:
    """The one amount of the period, and its components "volume" and "flat"."""
    total = quantities.get(0, ZERO)
    charged = charged_quantity(price, total)
    index = tier_of(price, charged)
    tier = price.tiers[index]
    label = f"{price.description or price.sku}: volume tier {index + 1}"
    amount = charged * tier.unit_price
    components: list[Component] = []
    if total:
        components.append(
            Component(
                key="volume",
                category="Usage",
                quantity=charged,
                unit_price=tier.unit_price,
                cost=amount,
                consumed_quantity=total,
                sku_price_id=tier.sku_price_id,
                description=label,
            )
        )
    if tier.flat_price and (charged > ZERO or price.flat_at_zero):
        amount += tier.flat_price
        # One key whichever tier is reached: moving to another tier restates this line item instead of leaving an empty one.
        components.append(flat(tier, "flat", f"{label}, flat price"))
    return [amount], components
