"""A matrix: the unit price of an entry is that of the first cell that matches its dimensions. Each window is charged by itself.

Cell i of the quantities is what fell to price.tiers[i]; tiers have no bounds here.
"""

from __future__ import annotations

from decimal import Decimal

from ..money import ZERO
from ..price import Component, Price, Quantities

__all__ = ["cell_of", "charge", "tier_quantities"]


def cell_of(price: Price, start_s: int, region: str, resource: str, dimensions: str) -> int | None:
    """Index of the cell that an entry belongs to; None when the matrix has none for it."""
    return None if price.matrix is None else price.matrix.cell_of(region, resource, dimensions)


def tier_quantities(price: Price, quantities: Quantities) -> list[Decimal]:
    """Quantity of each cell, in the order of price.tiers."""
    return [quantities.get(index, ZERO) for index in range(len(price.tiers))]


def charge(price: Price, quantities: Quantities) -> tuple[list[Decimal], list[Component]]:
    """Amount of each cell; nothing of it is charged otherwise than by window."""
    return [quantities.get(index, ZERO) * tier.unit_price for index, tier in enumerate(price.tiers)], []
