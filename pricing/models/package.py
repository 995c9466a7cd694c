"""Packages: every started package of `package_size` units costs `package_price`, whole."""

from __future__ import annotations

from decimal import Decimal

from ..money import ZERO, money
from ..price import Component, Price, Quantities

__all__ = ["charge", "started_packages", "tier_quantities"]

ONE = money(1)


def started_packages(price: Price, total: Decimal) -> Decimal:
    """Number of packages that a period's total starts beyond the free allowance.

    None at or below zero: usage can be taken back, but nobody starts a negative number of packages.
    """
    charged = total - price.free_quantity
    if charged <= ZERO:
        return ZERO
    whole, rest = divmod(charged, price.package_size)
    return whole + ONE if rest else whole


def tier_quantities(price: Price, quantities: Quantities) -> list[Decimal]:
    """What is charged of a period's total: the number of started packages (not units), in the one tier."""
    return [started_packages(price, quantities.get(0, ZERO))]


def charge(price: Price, quantities: Quantities) -> tuple[list[Decimal], list[Component]]:
    """The one amount of the period, and its component "package"."""
    total = quantities.get(0, ZERO)
    packages = started_packages(price, total)
    amount = packages * price.package_price
    if not total:
        return [amount], []
    component = Component(
        key="package",
        category="Usage",
        quantity=packages,
        unit_price=price.package_price,
        cost=amount,
        consumed_quantity=total,
        sku_price_id=price.tiers[0].sku_price_id,
        description=f"{price.description or price.sku}: packages started",
    )
    return [amount], [component]
