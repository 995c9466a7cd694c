"""What a price is, once it has been read: plain immutable values that the rating code walks.

A price applies to usage of one SKU in one unit, over an interval of time. Usage accumulates through its tiers per
(account, sku) and accumulation period (calendar month in UTC unless the price says otherwise).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from .money import ZERO, money
from .selection import Matrix, Schedule

__all__ = ["BY_WINDOW", "SELECTORS", "SINCE_ALWAYS", "Component", "Price", "Quantities", "Rounding", "Tier"]

# What was used of a price, per cell. Under most models that is one total, in cell 0. Models that select a unit price per entry
# have a cell per tier (matrix, time_of_day) or, where every entry may have a unit price of its own (dynamic), the amount in cell 0.
# A cell that is absent is 0; no cell at all: nothing was used.
Quantities = Mapping[int, Decimal]

# Models under which each window is charged by itself.
BY_WINDOW = frozenset({"unit", "graduated", "percentage", "matrix", "time_of_day", "dynamic"})
# Models under which a window's unit price is that of its cell, not of the cumulative total.
SELECTORS = frozenset({"matrix", "time_of_day", "dynamic"})

# effective_from of a price that names none: before any time a usage event can carry.
SINCE_ALWAYS = -(2**63)


class Tier(NamedTuple):
    """A tier of an ascending list. `upper` is the cumulative bound of the tier (None: no bound).

    Free allowances are tiers too, at unit price 0, so that every model walks one list.
    sku_price_id is stable over time and does not depend on amount or currency (FOCUS SkuPriceId): one per tier.
    """

    upper: Decimal | None
    unit_price: Decimal
    flat_price: Decimal
    sku_price_id: str


class Rounding(NamedTuple):
    """How the cost of an accumulation period is rounded: on the period's total, or on each tier's amount."""

    digits: int
    mode: str  # a name in money.ROUNDING_MODES
    scope: str  # "period" | "tier"


class Price(NamedTuple):
    """One effective-dated price. `version` is a digest of its definition: any change of it gives another version."""

    id: str
    sku: str
    unit: str
    model: str  # unit | graduated | volume | package | percentage | matrix | time_of_day | dynamic
    currency: str
    effective_from: int  # nanoseconds since 1970, inclusive; SINCE_ALWAYS when the book names none
    effective_to: int | None  # exclusive; in a price book already the next price's effective_from, None only for the last
    tiers: tuple[Tier, ...]
    version: str
    accumulate: str = "month"  # month | day | hour: what a tier's cumulative quantity counts over
    inclusive: bool = True  # a quantity equal to a bound still belongs to the tier below it
    flat_at_zero: bool = False  # the first tier's flat price is due even when the quantity is 0
    free_quantity: Decimal = ZERO  # not charged; unit, graduated and percentage: tiers[0] is this allowance when it is above 0
    package_size: Decimal = money(1)
    package_price: Decimal = ZERO
    minimum: Decimal | None = None
    minimum_at_close: bool = False  # the minimum is due when the period ends, not while it runs
    maximum: Decimal | None = None
    rounding: Rounding | None = None
    description: str = ""
    service_name: str = ""
    service_category: str = ""
    floor: Decimal | None = None  # percentage: least and most that the percentage comes to in a period, the fixed fee not counted
    cap: Decimal | None = None
    matrix: Matrix | None = None  # which of `tiers` an entry has, by its dimensions
    schedule: Schedule | None = None  # which of `tiers` an entry has, by its hour; after the bands comes the tier of all other hours
    price_field: str = ""  # dynamic: the dimension that carries the unit price
    markup: Decimal = money(1)  # dynamic: what the carried price is multiplied with
    accounts: tuple[str, ...] = ()  # the accounts for which it replaces the general price, ascending; (): the general price
    pricing_currency: str = ""  # the currency in which the price is written, where it was converted; else ""
    exchange_rate: Decimal = money(1)  # units of `currency` per unit of `pricing_currency`

    def __hash__(self) -> int:
        # What tells prices of one book apart; hashing thousands of tiers for each look-up would cost more than what is looked up.
        return hash((self.id, self.version, self.effective_from))

    @property
    def by_window(self) -> bool:
        """True when each window is charged by itself, chronologically; else one charge for the period (volume, package)."""
        return self.model in BY_WINDOW

    @property
    def selector(self) -> bool:
        """True when the unit price of a window follows from its dimensions or its hour (models.cell_of), not from totals."""
        return self.model in SELECTORS


class Component(NamedTuple):
    """One charge of a whole accumulation period: quantity x unit_price = cost, exactly.

    key names the component within its price, stable while usage grows: "flat-1" (graduated, one per tier), "volume" and
    "flat" (volume), "package", "fixed-fee", "floor" and "cap" (percentage), "minimum", "maximum", "rounding". sku_price_id is ""
    where no price of the SKU applies: floor, cap, minimum, maximum and rounding.
    """

    key: str
    category: str  # FOCUS ChargeCategory: Usage, Purchase, Credit, Adjustment
    quantity: Decimal
    unit_price: Decimal
    cost: Decimal
    consumed_quantity: Decimal | None
    sku_price_id: str
    description: str
