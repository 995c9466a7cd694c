"""The price models: pure functions from a cumulative quantity to exact amounts.

A model answers two questions. `tier_quantities`: how does a cumulative total fall into the tiers? Under unit and graduated
prices a window is charged with the difference it makes there. `charge`: what does the period cost tier by tier, and which of
it is not charged by window? The functions here put model and adjustments together:

    Σ over tiers (tier_quantities x unit_price), where charged by window  +  Σ period_components  =  period_cost

Quantities may go down and may be negative. Every function computes exactly, whatever the caller's decimal context is.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import NamedTuple

from ..money import EXACT, ZERO
from ..price import Component, Price
from . import graduated, package, unit, volume
from .adjustments import adjust

__all__ = ["MODELS", "Model", "has_period_components", "period_components", "period_cost", "tier_name", "tier_quantities"]


class Model(NamedTuple):
    """The two functions of a model. `charge` is only asked about periods that were used, be it with a quantity of 0."""

    tier_quantities: Callable[[Price, Decimal], list[Decimal]]
    charge: Callable[[Price, Decimal], tuple[list[Decimal], list[Component]]]


MODELS = {
    "unit": Model(unit.tier_quantities, unit.charge),
    "graduated": Model(graduated.tier_quantities, graduated.charge),
    "volume": Model(volume.tier_quantities, volume.charge),
    "package": Model(package.tier_quantities, package.charge),
}


def tier_name(price: Price, index: int) -> str:
    """Name of price.tiers[index]: "free" for the allowance, else "tier-1", "tier-2", … as in the price book."""
    if price.by_window and price.free_quantity > ZERO:
        return f"tier-{index}" if index else "free"
    return f"tier-{index + 1}"


def tier_quantities(price: Price, total: Decimal) -> list[Decimal]:
    """How a cumulative total (in price.unit) falls into price.tiers, one quantity per tier.

    Under unit and graduated prices the quantities sum to the total; volume leaves out the free allowance, and package counts
    packages. A negative total is all in the first tier.
    """
    with localcontext(EXACT):
        return MODELS[price.model].tier_quantities(price, total)


def has_period_components(price: Price) -> bool:
    """Whether `period_components` can be anything but empty: lets a caller skip prices that are charged by window alone."""
    if not price.by_window or price.minimum is not None or price.maximum is not None or price.rounding is not None:
        return True
    return any(tier.flat_price for tier in price.tiers)


def period_components(price: Price, total: Decimal, used: bool, *, final: bool = True) -> list[Component]:
    """The charges of an accumulation period that are not made window by window.

    total: the period's quantity in price.unit. used: anything was counted, be it a quantity of 0; without it (and with a total
    of 0) nothing is due, no minimum either. final: the period has ended; until then a minimum with `minimum_due: period_end`
    is left out. Amounts of 0 are left out, but usage that was priced at 0 is not.
    """
    if not has_period_components(price) or not (used or total):
        return []
    with localcontext(EXACT):
        amounts, components = MODELS[price.model].charge(price, total)
        return components + adjust(price, amounts, final)


def period_cost(price: Price, total: Decimal, used: bool = True, *, final: bool = True) -> Decimal:
    """Everything an accumulation period costs, windows included: price(Σ quantity). Arguments as for `period_components`."""
    if not (used or total):
        return ZERO
    with localcontext(EXACT):
        amounts, _ = MODELS[price.model].charge(price, total)
        return sum((component.cost for component in adjust(price, amounts, final)), sum(amounts, ZERO))
