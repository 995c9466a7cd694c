"""What is added to the charges of a period, in one order for every model: see ADJUSTMENTS.

Tier rounding comes first because it belongs to the amounts themselves: a vendor that prints each tier to the cent compares
the sum of the printed amounts with its minimum. Minimum and maximum follow (a price book refuses a minimum above the maximum,
so between them the order makes no difference). Rounding of the period comes last, because then the amount due is round. It
cannot leave the limits again: a price book may only name limits that the rounding leaves as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from ..money import ZERO, money, round_to
from ..price import Component, Price, Tier

__all__ = ["ADJUSTMENTS", "adjust", "flat", "signed"]

ONE = money(1)
Adjustment = Callable[[Price, list[Decimal], Decimal, bool], Component | None]


def adjust(price: Price, amounts: list[Decimal], final: bool) -> list[Component]:
    """Components that lead from the amounts of a period's tiers to what is due. final: the period has ended."""
    due = sum(amounts, ZERO)
    components: list[Component] = []
    for adjustment in ADJUSTMENTS:
        component = adjustment(price, amounts, due, final)
        if component is not None:
            components.append(component)
            due += component.cost
    return components


def round_tiers(price: Price, amounts: list[Decimal], due: Decimal, final: bool) -> Component | None:
    """Difference that rounding each tier's amount makes."""
    rounding = price.rounding
    if rounding is None or rounding.scope != "tier":
        return None
    rounded = sum((round_to(amount, rounding.digits, rounding.mode) for amount in amounts), ZERO)
    return signed(price, "rounding", "Adjustment", rounded - due, "rounding of each tier")


def minimum(price: Price, amounts: list[Decimal], due: Decimal, final: bool) -> Component | None:
    """Top-up to the minimum, unless it is only due once the period has ended."""
    if price.minimum is None or (price.minimum_at_close and not final) or due >= price.minimum:
        return None
    return signed(price, "minimum", "Adjustment", price.minimum - due, "top-up to the minimum")


def maximum(price: Price, amounts: list[Decimal], due: Decimal, final: bool) -> Component | None:
    """Credit for what exceeds the maximum."""
    if price.maximum is None or due <= price.maximum:
        return None
    return signed(price, "maximum", "Credit", price.maximum - due, "credit above the maximum")


def round_period(price: Price, amounts: list[Decimal], due: Decimal, final: bool) -> Component | None:
    """Difference that rounding the period's total makes."""
    rounding = price.rounding
    if rounding is None or rounding.scope != "period":
        return None
    return signed(price, "rounding", "Adjustment", round_to(due, rounding.digits, rounding.mode) - due, "rounding of the period")


ADJUSTMENTS: tuple[Adjustment, ...] = (round_tiers, minimum, maximum, round_period)


def flat(tier: Tier, key: str, description: str) -> Component:
    """The flat price of a tier, due once."""
    return Component(
        key=key,
        category="Usage",
        quantity=ONE,
        unit_price=tier.flat_price,
        cost=tier.flat_price,
        consumed_quantity=None,
        sku_price_id=f"{tier.sku_price_id}/flat",
        description=description,
    )


def signed(price: Price, key: str, category: str, amount: Decimal, what: str) -> Component | None:
    """A component of any sign: unit prices are never negative, so the sign is that of the quantity."""
    if not amount:
        return None
    return Component(
        key=key,
        category=category,
        quantity=ONE if amount > ZERO else -ONE,
        unit_price=abs(amount),
        cost=amount,
        consumed_quantity=None,
        sku_price_id="",
        description=f"{price.description or price.sku}: {what}",
    )
