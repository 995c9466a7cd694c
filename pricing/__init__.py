"""Prices and what they make of quantities: pure, exact, no I/O."""

from __future__ import annotations

from .book import EMPTY_BOOK, PriceBook, parse_price_book
from .models import cell_of, entry_price, period_components, period_cost, tier_quantities
from .price import Component, Price, Quantities, Rounding, Tier
from .slices import slice_costs

__all__ = [
    "EMPTY_BOOK",
    "Component",
    "Price",
    "PriceBook",
    "Quantities",
    "Rounding",
    "Tier",
    "cell_of",
    "entry_price",
    "parse_price_book",
    "period_components",
    "period_cost",
    "slice_costs",
    "tier_quantities",
]
