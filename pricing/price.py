"""What a price is, once it has been read: plain immutable values that the rating code walks.

A price applies to usage of one SKU in one unit, over an interval of time. Usage accumulates through its tiers per
(account, sku) and accumulation period (calendar month in UTC unless the price says otherwise).
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

__all__ = ["Component", "Price", "Rounding", "Tier"]


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
    effective_from: int  # nanoseconds since 1970, inclusive
    effective_to: int | None  # exclusive; None: until the next price of the SKU, if any
    tiers: tuple[Tier, ...]
    version: str
    accumulate: str = "month"  # month | day | hour: what a tier's cumulative quantity counts over
    inclusive: bool = True  # a quantity equal to a bound still belongs to the tier below it
    flat_at_zero: bool = False  # the first tier's flat price is due even when the quantity is 0
    free_quantity: Decimal = Decimal(0)  # volume and package: quantity not charged
    package_size: Decimal = Decimal(1)
    package_price: Decimal = Decimal(0)
    minimum: Decimal | None = None
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

    key names the component within its price, stable while usage grows: "flat-1", "volume", "package", "minimum",
    "maximum", "rounding".
    """

    key: str
    category: str  # FOCUS ChargeCategory: Usage, Purchase, Credit, Adjustment
    quantity: Decimal
    unit_price: Decimal
    cost: Decimal
    consumed_quantity: Decimal | None
    sku_price_id: str
    description: str
