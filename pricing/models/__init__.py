"""The price models: pure functions from quantities to exact amounts.

A model answers two questions. `tier_quantities`: how do the quantities of a period fall into the tiers? Where windows are
charged one by one, each is charged with the difference it makes there. `charge`: what does the period cost tier by tier, and
which of it is not charged by window? The functions here put model and adjustments together:

    Σ over tiers (tier_quantities x unit_price), where charged by window  +  Σ period_components  =  period_cost

Models that select (Price.selector) answer a third one, `cell_of`: to which cell of the quantities does an entry belong? What an
entry costs there is its quantity x `entry_price`.

Quantities may go down and may be negative. Every function computes exactly, whatever the caller's decimal context is.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import NamedTuple

from ..money import EXACT, ZERO
from ..price import Component, Price, Quantities
from . import dynamic, graduated, matrix, package, percentage, time_of_day, unit, volume
from .adjustments import adjust

__all__ = [
    "MODELS", "Model", "cell_of", "counted", "entry_price", "has_period_components", "period_components", "period_cost", "tier_name",
    "tier_quantities",
]  # fmt: skip


class Model(NamedTuple):
    """The functions of a model. `charge` is only asked about periods that were used, be it with a quantity of 0."""

    tier_quantities: Callable[[Price, Quantities], list[Decimal]]
    charge: Callable[[Price, Quantities], tuple[list[Decimal], list[Component]]]
    cell_of: Callable[[Price, int, str, str, str], int | None] | None = None  # None: there is one cell


MODELS = {
    "unit": Model(unit.tier_quantities, unit.charge),
    "graduated": Model(graduated.tier_quantities, graduated.charge),
    "volume": Model(volume.tier_quantities, volume.charge),
    "package": Model(package.tier_quantities, package.charge),
    "percentage": Model(percentage.tier_quantities, percentage.charge),
    "matrix": Model(matrix.tier_quantities, matrix.charge, matrix.cell_of),
    "time_of_day": Model(time_of_day.tier_quantities, time_of_day.charge, time_of_day.cell_of),
    "dynamic": Model(dynamic.tier_quantities, dynamic.charge, dynamic.cell_of),
}


def tier_name(price: Price, index: int) -> str:
    """Name of price.tiers[index]: "free" for the allowance, else "tier-1", "tier-2", … as in the price book.

    Cells of a matrix are named like tiers; under time_of_day it is "band-1", … and "otherwise".
    """
    if price.schedule is not None:
        return f"band-{index + 1}" if index < len(price.schedule.bands) else "otherwise"
    if price.by_window and price.free_quantity > ZERO:
        return f"tier-{index}" if index else "free"
    return f"tier-{index + 1}"


def cell_of(price: Price, start_s: int, region: str, resource: str, dimensions: str) -> int | None:
    """The cell of the quantities to which an entry belongs, an index of price.tiers; None: the price has no unit price for it.

    start_s: start of its window (seconds since 1970). dimensions: canonical map as text, "" for none.
    """
    of_model = MODELS[price.model].cell_of
    return 0 if of_model is None else of_model(price, start_s, region, resource, dimensions)


def entry_price(price: Price, index: int, dimensions: str) -> Decimal:
    """Unit price of an entry in price.tiers[index]: that of the tier, or under dynamic what the entry carries x markup.

    Raises ValueError under dynamic when the entry carries none, which is when `cell_of` is None.
    """
    if price.model == "dynamic":
        with localcontext(EXACT):
            return dynamic.entry_price(price, dimensions)
    return price.tiers[index].unit_price


def counted(price: Price, quantity: Decimal, unit_price: Decimal) -> Decimal:
    """What an entry adds to its cell: its quantity, or under dynamic the amount. unit_price: its `entry_price`. The context must be exact."""
    return quantity * unit_price if price.model == "dynamic" else quantity


def tier_quantities(price: Price, quantities: Quantities) -> list[Decimal]:
    """How the quantities of a period (in price.unit; {0: total} unless the price selects) fall into price.tiers, one per tier.

    Under unit, graduated and percentage prices they sum to the total; volume leaves out the free allowance, and package counts
    packages. A negative total is all in the first tier. Under prices that select it is the cells in order (under dynamic, the
    amount). Σ of them x the tiers' unit prices is what the windows cost, where windows are charged one by one.
    """
    with localcontext(EXACT):
        return MODELS[price.model].tier_quantities(price, quantities)


def has_period_components(price: Price) -> bool:
    """Whether `period_components` can be anything but empty: lets a caller skip prices that are charged by window alone."""
    if not price.by_window or any(limit is not None for limit in (price.minimum, price.maximum, price.floor, price.cap, price.rounding)):
        return True
    return any(tier.flat_price for tier in price.tiers)


def period_components(price: Price, quantities: Quantities, used: bool, *, final: bool = True) -> list[Component]:
    """The charges of an accumulation period that are not made window by window.

    quantities: what the period holds, per cell; {0: total in price.unit} unless the price selects. used: anything was counted,
    be it a quantity of 0; without it (and with quantities of 0) nothing is due, no minimum either. final: the period has ended;
    until then a minimum with `minimum_due: period_end` is left out. Amounts of 0 are left out, but usage priced at 0 is not.
    """
    if not has_period_components(price) or not (used or any(quantities.values())):
        return []
    with localcontext(EXACT):
        amounts, components = MODELS[price.model].charge(price, quantities)
        return components + adjust(price, amounts, final)


def period_cost(price: Price, quantities: Quantities, used: bool = True, *, final: bool = True) -> Decimal:
    """Everything an accumulation period costs, windows included: price(Σ quantity). Arguments as for `period_components`."""
    if not (used or any(quantities.values())):
        return ZERO
    with localcontext(EXACT):
        amounts, _ = MODELS[price.model].charge(price, quantities)
        return sum((component.cost for component in adjust(price, amounts, final)), sum(amounts, ZERO))
