"""What a price is, once it has been read: plain immutable values that the rating code walks.

A price applies to usage of one SKU in one unit, over an interval of time. Usage accumulates through its tiers per
(account, sku) and accumulation period (calendar month in UTC unless the price says otherwise).
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from .money import ZERO, money

__all__ = ["SINCE_ALWAYS", "Component", "Price", "Rounding", "Tier"]

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
    model: str  # unit | graduated | volume | package
    currency: str
    effective_from: int  # nanoseconds since 1970, inclusive; SINCE_ALWAYS when the book names none
    effective_to: int | None  # exclusive; in a price book already the next price's effective_from, None only for the last
    tiers: tuple[Tier, ...]
    version: str
    accumulate: str = "month"  # month | day | hour: what a tier's cumulative quantity counts over
    inclusive: bool = True  # a quantity equal to a bound still belongs to the tier below it
    flat_at_zero: bool = False  # the first tier's flat price is due even when the quantity is 0
    free_quantity: Decimal = ZERO  # not charged; unit and graduated: tiers[0] is this allowance when it is above 0
    package_size: Decimal = money(1)
    package_price: Decimal = ZERO
    minimum: Decimal | None = None
    minimum_at_close: bool = False  # the minimum is due when the period ends, not while it runs
    maximum: Decimal | None = None
    rounding: Rounding | None = None
    description: str = ""
    service_name: str = ""
    service_category: str = ""

    @property
    def by_window(self) -> bool:
        """True when each window is charged by itself, chronologically (unit, graduated); else one charge for the period."""
        return self.model in ("unit", "graduated")


class Component(NamedTuple):
    """One charge of a whole accumulation period: quantity x unit_price = cost, exactly.

    key names the component within its price, stable while usage grows: "flat-1" (graduated, one per tier), "volume" and
    "flat" (volume), "package", "minimum", "maximum", "rounding". sku_price_id is "" where no price of the SKU applies:
    minimum, maximum and rounding.
    """

    key: str
    category: str  # FOCUS ChargeCategory: Usage, Purchase, Credit, Adjustment
    quantity: Decimal
    unit_price: Decimal
    cost: Decimal
    consumed_quantity: Decimal | None
    sku_price_id: str
    description: str
