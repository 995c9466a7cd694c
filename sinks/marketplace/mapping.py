"""Which target a line item counts for, and how much. Pure."""

from __future__ import annotations

from decimal import localcontext
from enum import StrEnum

from ...pricing.money import EXACT, money
from ...schemas.line_item import RatedLineItem
from ...schemas.times import NS, parse_time
from .listings import Customer, Dimension, Listings
from .records import HOUR_S, Contribution

__all__ = ["Left", "contribution_of"]


class Left(StrEnum):
    """Why a line item counts for no target."""

    NOT_SOLD = "not_sold"  # its account is no customer of a marketplace at that time
    IGNORED = "ignored"  # the listing says so
    UNMAPPED = "unmapped"  # it is a customer's, and the listing says nothing of it


def contribution_of(item: RatedLineItem, listings: Listings) -> Contribution | Left:
    """What a line item adds to a target.

    It belongs to the hour in which its charge period begins; one that had begun before the customer did, to the customer's first hour. So a
    charge of a month counts as it grows: what it grows by is carried into the hour that is open.
    """
    customers = listings.customers.get(item.billing_account_id)
    if customers is None:
        return Left.NOT_SOLD
    begin, end = parse_time(item.charge_period_start) // NS, parse_time(item.charge_period_end) // NS
    begin -= begin % HOUR_S
    customer = next((each for each in customers if each.since < end and (not each.until or begin < each.until)), None)
    if customer is None:
        return Left.NOT_SOLD
    if item.sku_id in customer.listing.ignored:
        return Left.IGNORED
    for dimension in _candidates(customer, item.sku_id):
        quantity = _quantity(dimension, item)
        if quantity is not None:
            with localcontext(EXACT):
                exact = money(quantity) * dimension.factor
            return Contribution(item.x_line_item_id, item.x_revision, customer.target(dimension.name).id, max(begin, customer.since), exact)
    return Left.UNMAPPED


def _candidates(customer: Customer, sku: str) -> list[Dimension]:
    """Dimensions that name the SKU, then those of all other costs."""
    dimensions = customer.listing.dimensions
    return [*(each for each in dimensions if each.sku == sku), *(each for each in dimensions if not each.sku)]


def _quantity(dimension: Dimension, item: RatedLineItem) -> str | None:
    if dimension.currency:
        return item.billed_cost if dimension.currency == item.billing_currency else None
    return item.consumed_quantity if dimension.unit == item.consumed_unit else None
