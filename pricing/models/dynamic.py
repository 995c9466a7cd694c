"""Dynamic prices: each event carries its own unit price in a dimension, and the price book says what it is multiplied with.

The one cell holds an amount of money, Σ quantity x unit price of the entry, so its one tier has the unit price 1.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from ...schemas.errors import Rejection
from ...schemas.quantity import parse_quantity
from ..money import DIGITS, ZERO
from ..price import Price
from ..selection import dimension_values
from . import matrix

__all__ = ["cell_of", "charge", "entry_price", "tier_quantities"]

tier_quantities = matrix.tier_quantities
charge = matrix.charge


@lru_cache(maxsize=65_536)
def carried_price(dimensions: str, price_field: str) -> Decimal | None:
    """The unit price that an entry carries; None when it has none, or none that is an exact number from 0 with bounded digits."""
    text = dimension_values(dimensions).get(price_field, "")
    try:
        value = parse_quantity(text)
    except Rejection:
        return None
    if value < ZERO or value.adjusted() >= DIGITS or -int(value.as_tuple().exponent) > DIGITS:
        return None
    return value


def cell_of(price: Price, start_s: int, region: str, resource: str, dimensions: str) -> int | None:
    """0, or None when the entry carries no price that can be used."""
    return None if carried_price(dimensions, price.price_field) is None else 0


def entry_price(price: Price, dimensions: str) -> Decimal:
    """Unit price of an entry, markup included. Raises ValueError when it carries none (`cell_of` is None then)."""
    carried = carried_price(dimensions, price.price_field)
    if carried is None:
        raise ValueError(f"price {price.id} needs a number in the dimension {price.price_field}, and the entry has none")
    return carried * price.markup
