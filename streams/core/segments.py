"""Segments, and the prices that cut a group into them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from ...pricing.book import PriceBook
from ...pricing.chronology import Mark
from ...pricing.models import has_period_components, period_components
from ...pricing.money import ZERO
from ...pricing.price import Component, Price
from .items import Names

__all__ = ["NOT_ONE", "Rates", "Segment"]


class Rates:
    """A price book as the step uses it: names resolved, prices looked up per window, window length fixed (seconds)."""

    def __init__(self, book: PriceBook, window_s: int) -> None:
        self.book = book
        self.window_s = window_s
        self.names = Names(book.currency, book.provider_name, book.publisher_name, book.invoice_issuer_name)
        self.price_at: Callable[[str, str, int], Price | None] = lru_cache(maxsize=65_536)(
            lambda sku, unit, start: book.price_at(sku, unit, start * 1_000_000_000)
        )


@lru_cache(maxsize=4_096)
def _bounds(price: Price) -> tuple[Decimal, ...]:
    return tuple(tier.upper for tier in price.tiers if tier.upper is not None)


class Segment:
    """A stretch of a group's windows under one price and one accumulation period [start, end) in seconds."""

    __slots__ = ("bounds", "charged", "end", "first", "marks", "negatives", "past", "price", "start", "total", "used")

    def __init__(self, price: Price | None, start: int, end: int, first: int, past: int) -> None:
        self.price = price
        self.start, self.end = start, end
        # Entry keys of the segment lie in [first, past): where the period and the price's own interval meet.
        self.first, self.past = first.to_bytes(8, "big"), past.to_bytes(8, "big")
        self.bounds = _bounds(price) if price is not None and price.by_window else ()
        self.charged = price is not None and has_period_components(price)
        self.marks: list[Mark | None] = [None] * len(self.bounds)
        self.total = ZERO
        self.negatives = 0
        self.used = False

    def charges(self) -> list[Component]:
        """Charges of the whole period as things stand."""
        if not self.charged or self.price is None or not self.used:
            return []
        return period_components(self.price, self.total, self.used)


NOT_ONE = Segment(None, 0, 0, 0, 0)  # stands for "several segments"
