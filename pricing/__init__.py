"""Prices and what they make of quantities: pure, exact, no I/O."""

from __future__ import annotations

from .book import EMPTY_BOOK, PriceBook, parse_price_book
from .models import period_components, period_cost, tier_quantities
from .price import Component, Price, Rounding, Tier

__all__ = [
    "EMPTY_BOOK",
    "Component",
    "Price",
    "PriceBook",
    "Rounding",
    "Tier",
    "parse_price_book",
    "period_components",
    "period_cost",
    "tier_quantities",
]
