"""Segments, and the prices that cut a group into them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from ...metering.calendar import Calendar, calendar
from ...metering.meter import EMPTY_METERS, Meters
from ...pricing.book import PriceBook
from ...pricing.chronology import Mark
from ...pricing.models import cell_of, counted, entry_price, has_period_components, period_components
from ...pricing.money import ZERO
from ...pricing.price import Component, Price, Quantities
from ...pricing.slices import together
from ...pricing.statement import Terms
from .items import Names, WindowWriter, split_entry_key

__all__ = ["Rates", "Segment", "Stretch", "place_of"]

_NS = 1_000_000_000
SPECIAL_ACCOUNTS = 10_000  # accounts with prices of their own that are remembered at once


class Stretch(NamedTuple):
    """What one price makes of one accumulation period [start, end) in seconds; the same for every group of its SKU and unit."""

    key: tuple[str, int]  # price id, start
    price: Price | None
    start: int  # where the period and the price's own interval meet
    end: int
    first: bytes  # entry keys in it lie in [first, past)
    past: bytes
    bounds: tuple[Decimal, ...]  # of the tiers, where windows are charged one by one
    by_window: bool
    charged: bool  # some charge depends on the total of the period
    selector: bool = False  # the unit price depends on the entry, not on the total
    cuts: tuple[bytes, ...] = ()  # entry keys at which a new slice of the account's month begins, if there are several

    @property
    def plain(self) -> bool:
        """One total says everything about the usage in it."""
        return not self.selector and not self.cuts


class Rates:
    """A price book and meters as the step uses them: names resolved, prices looked up per window, default window fixed (seconds).

    `of(account)` is the same for that account: its own prices, currency and terms.
    """

    def __init__(self, book: PriceBook, window_s: int, meters: Meters = EMPTY_METERS, digest: str = "") -> None:
        self.book = book
        self.meters = meters
        self.window_s = window_s
        self.digest = digest or book.digest
        self.account = ""
        self.terms: Terms | None = None
        self.default = calendar(window_s)
        self.names = Names(book.currency, book.provider_name, book.publisher_name, book.invoice_issuer_name)
        self._writers: dict[str, WindowWriter] = {}
        self._by_terms: dict[str, Rates] = {}
        self.calendar_of: Callable[[str, str], Calendar] = lru_cache(maxsize=4_096)(lambda sku, unit: meters.calendar_of(sku, unit, self.default))
        # Whether every account has the same prices and nothing but prices: then nobody asks for its own rates.
        self.uniform = not book.has_specials
        self.of: Callable[[str], Rates] = (lambda account: self) if self.uniform else lru_cache(maxsize=SPECIAL_ACCOUNTS)(self._of)
        self._remember()

    def _remember(self) -> None:
        # (sku, unit, window start in seconds) -> the stretch it lies in
        self.stretch_at: Callable[[str, str, int], Stretch] = lru_cache(maxsize=65_536)(self._stretch_at)
        # (sku, unit, month) -> the one stretch that is the whole month; None when there are several
        self.whole_month: Callable[[str, str, int], Stretch | None] = lru_cache(maxsize=65_536)(self._whole_month)
        # (sku, month) -> service name and category of what an adjustment charges for the SKU
        self.service_of: Callable[[str, int], tuple[str, str]] = lru_cache(maxsize=4_096)(self._service_of)

    def _of(self, account: str) -> Rates:
        terms, special = self.book.terms_of(account), self.book.special(account)
        if not special:
            # Accounts with the general prices and the same terms share everything that is remembered about them.
            if terms is None:
                return self
            if (shared := self._by_terms.get(terms.digest)) is not None:
                return shared
        own = object.__new__(Rates)
        own.__dict__.update(self.__dict__)
        own.account = account if special else ""
        own.terms = terms
        own.names = self.names if terms is None else self.names._replace(currency=terms.currency)
        own.of = lambda _: own
        own._remember()
        if terms is not None and not special:
            self._by_terms[terms.digest] = own
        return own

    def writer(self, revision: int) -> WindowWriter:
        """The writer of these line items, for the commit of this revision."""
        currency = self.names.currency
        found = self._writers.get(currency)
        if found is None:
            found = self._writers[currency] = WindowWriter(self.names, self.calendar_of)
        return found.at(revision)

    def month_cuts(self, month: int) -> tuple[int, ...]:
        """Seconds at which a new slice of the account's month begins; () when it is one slice."""
        if self.terms is None:
            return ()
        return self.terms.cuts(self.default.month_start(month), self.default.month_start(month + 1))

    def _service_of(self, sku: str, month: int) -> tuple[str, str]:
        """As the usage has them: of the SKU's price in force in the month, else of its first one. What has no price is a service of its own."""
        in_force: list[Price] = []
        others: list[Price] = []
        for unit in sorted(self.book.units_of(sku)):
            its = self.calendar_of(sku, unit)
            start, past = its.month_start(month) * _NS, its.month_start(month + 1) * _NS
            for price in self.book.series(sku, unit, self.account, its):
                holds = price.effective_from < past and (price.effective_to is None or price.effective_to > start)
                (in_force if holds else others).append(price)
        found = in_force or others
        named = next((price for price in found if price.service_name), None)
        if named is None:
            return sku, next((price.service_category for price in found if price.service_category), "Other")
        return named.service_name, named.service_category or "Other"

    def _stretch_at(self, sku: str, unit: str, start: int) -> Stretch:
        its = self.calendar_of(sku, unit)
        price = self.book.price_at(sku, unit, start * _NS, self.account, its)
        if price is None:
            first, past = its.period("month", start)
            # Up to the prices before and behind it: what has a price must not fall into a stretch that has none.
            series = self.book.series(sku, unit, self.account, its)
            low = max([first, *(-(-p.effective_to // _NS) for p in series if p.effective_to is not None and p.effective_to <= start * _NS)])
            high = min([past, *(-(-p.effective_from // _NS) for p in series if p.effective_from > start * _NS)])
            return Stretch(("", low), None, low, high, _entry(low), _entry(high), (), True, False)
        first, past = its.period(price.accumulate, start)
        low = max(first, -(-price.effective_from // _NS))
        high = past if price.effective_to is None else min(past, -(-price.effective_to // _NS))
        bounds = tuple(tier.upper for tier in price.tiers if tier.upper is not None) if price.by_window else ()
        cuts = tuple(_entry(cut) for cut in self.month_cuts(its.month_of(start)))
        return Stretch(
            (price.id, low), price, low, high, _entry(low), _entry(high), bounds, price.by_window, has_period_components(price),
            price.selector, cuts,
        )  # fmt: skip

    def _whole_month(self, sku: str, unit: str, month: int) -> Stretch | None:
        its = self.calendar_of(sku, unit)
        start, past = its.month_start(month), its.month_start(month + 1)
        series = self.book.series(sku, unit, self.account, its)
        if not series:
            return self.stretch_at(sku, unit, start)
        for price in series:
            until = price.effective_to
            if price.accumulate == "month" and price.effective_from <= start * _NS and (until is None or until >= past * _NS):
                return self.stretch_at(sku, unit, start)
        return None


def _entry(seconds: int) -> bytes:
    return seconds.to_bytes(8, "big")


_CELLS_KEPT = 200_000
_cells: dict[tuple[str, bytes], tuple[int, Decimal] | None] = {}  # price version, entry key


def _cell_at(price: Price, key: bytes) -> tuple[int, Decimal] | None:
    """(cell, unit price) of an entry under a selector price; None when it has no price for such an entry."""
    name = (price.version, key)  # not the price itself: hashing all that it holds costs more than the answer
    if name in _cells:
        return _cells[name]
    start, region, resource, dimensions = split_entry_key(key)
    cell = cell_of(price, start, region, resource, dimensions)
    if len(_cells) >= _CELLS_KEPT:
        _cells.clear()
    found = _cells[name] = None if cell is None else (cell, entry_price(price, cell, dimensions))
    return found


def place_of(stretch: Stretch, key: bytes, quantity: Decimal) -> tuple[int, Decimal] | None:
    """(cell, what is counted there) of a quantity of an entry; None: the price has no unit price for such an entry."""
    price = stretch.price
    if price is None or not stretch.selector:
        return 0, quantity
    found = _cell_at(price, key)
    return None if found is None else (found[0], counted(price, quantity, found[1]))


class Segment:
    """One group's usage in one stretch: totals and marks, which follow from the entries and are kept so as not to compute them again."""

    __slots__ = ("marks", "negatives", "slices", "stretch", "total", "used")

    def __init__(self, stretch: Stretch) -> None:
        self.stretch = stretch
        self.marks: Sequence[Mark | None] = _NO_MARKS[len(stretch.bounds)] if len(stretch.bounds) < 8 else (None,) * len(stretch.bounds)
        self.total = ZERO
        self.negatives = 0
        self.used = False
        # Quantities per slice of the month and cell of the price; only where a total does not say it all.
        self.slices: tuple[dict[int, Decimal], ...] = () if stretch.plain else tuple({} for _ in range(len(stretch.cuts) + 1))

    def cell(self, key: bytes) -> tuple[int, Decimal] | None:
        """(cell, unit price) of an entry, where the price selects by entry."""
        price = self.stretch.price
        return None if price is None else _cell_at(price, key)

    def count(self, key: bytes, quantity: Decimal) -> None:
        """Add a quantity to the slice and cell that an entry falls into; nothing to do where the stretch is plain."""
        stretch = self.stretch
        if not self.slices:
            return
        found = place_of(stretch, key, quantity)
        if found is None:
            return
        cell, counts = found
        its = self.slices[bisect_right(stretch.cuts, key[:8])]
        its[cell] = its.get(cell, ZERO) + counts

    def quantities(self) -> tuple[Quantities, ...]:
        """What was used, by slice of the month and cell of the price."""
        return self.slices or ({0: self.total},)

    def together(self) -> Quantities:
        """What was used in all slices."""
        return together(self.quantities())

    def charges(self, final: bool) -> list[Component]:
        """Charges of the whole period as things stand. final: the period is closed."""
        stretch = self.stretch
        if not stretch.charged or stretch.price is None or not self.used:
            return []
        return period_components(stretch.price, self.together(), self.used, final=final)


_NO_MARKS: list[tuple[None, ...]] = [(None,) * n for n in range(8)]
