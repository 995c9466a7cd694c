"""Segments, and the prices that cut a group into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from ...pricing.book import PriceBook
from ...pricing.chronology import Mark
from ...pricing.models import has_period_components, period_components
from ...pricing.money import ZERO
from ...pricing.price import Component, Price
from .items import Names
from .periods import month_start, period_bounds

__all__ = ["Rates", "Segment", "Stretch"]

_NS = 1_000_000_000


class Stretch(NamedTuple):
    """What one price makes of one accumulation period [start, end) in seconds; the same for every group of its SKU and unit."""

    key: tuple[str, int]  # price id, start
    price: Price | None
    start: int
    end: int
    first: bytes  # entry keys in it lie in [first, past): where the period and the price's own interval meet
    past: bytes
    bounds: tuple[Decimal, ...]  # of the tiers, where windows are charged one by one
    by_window: bool
    charged: bool  # some charge depends on the total of the period


class Rates:
    """A price book as the step uses it: names resolved, prices looked up per window, window length fixed (seconds)."""

    def __init__(self, book: PriceBook, window_s: int) -> None:
        self.book = book
        self.window_s = window_s
        self.names = Names(book.currency, book.provider_name, book.publisher_name, book.invoice_issuer_name)
        # (sku, unit, window start in seconds) -> the stretch it lies in
        self.stretch_at: Callable[[str, str, int], Stretch] = lru_cache(maxsize=65_536)(self._stretch_at)
        # (sku, unit, month) -> the one stretch that is the whole month; None when there are several
        self.whole_month: Callable[[str, str, int], Stretch | None] = lru_cache(maxsize=65_536)(self._whole_month)

    def _stretch_at(self, sku: str, unit: str, start: int) -> Stretch:
        price = self.book.price_at(sku, unit, start * _NS)
        if price is None:
            first, past = period_bounds("month", start)
            return Stretch(("", first), None, first, past, _entry(first), _entry(past), (), True, False)
        first, past = period_bounds(price.accumulate, start)
        low = max(first, -(-price.effective_from // _NS))
        high = past if price.effective_to is None else min(past, -(-price.effective_to // _NS))
        bounds = tuple(tier.upper for tier in price.tiers if tier.upper is not None) if price.by_window else ()
        return Stretch(
            (price.id, first), price, first, past, _entry(low), _entry(high), bounds, price.by_window, has_period_components(price)
        )  # fmt: skip

    def _whole_month(self, sku: str, unit: str, month: int) -> Stretch | None:
        start, past = month_start(month), month_start(month + 1)
        series = self.book.series(sku, unit)
        if not series:
            return self.stretch_at(sku, unit, start)
        for price in series:
            until = price.effective_to
            if price.accumulate == "month" and price.effective_from <= start * _NS and (until is None or until >= past * _NS):
                return self.stretch_at(sku, unit, start)
        return None


def _entry(seconds: int) -> bytes:
    return seconds.to_bytes(8, "big")


class Segment:
    """One group's usage in one stretch: totals and marks, which follow from the entries and are kept so as not to compute them again."""

    __slots__ = ("marks", "negatives", "stretch", "total", "used")

    def __init__(self, stretch: Stretch) -> None:
        self.stretch = stretch
        self.marks: Sequence[Mark | None] = _NO_MARKS[len(stretch.bounds)] if len(stretch.bounds) < 8 else (None,) * len(stretch.bounds)
        self.total = ZERO
        self.negatives = 0
        self.used = False

    def charges(self) -> list[Component]:
        """Charges of the whole period as things stand."""
        stretch = self.stretch
        if not stretch.charged or stretch.price is None or not self.used:
            return []
        return period_components(stretch.price, self.total, self.used)


_NO_MARKS: list[tuple[None, ...]] = [(None,) * n for n in range(8)]
