"""One group: the usage of one (account, sku, unit, month), and what a change of it does to its line items.

A group is split into segments: stretches of windows under one price and one accumulation period. Everything here is a pure
function of the entries and the prices; a group keeps marks and totals only so as not to compute them again.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache

from ...pricing.book import PriceBook
from ...pricing.chronology import Mark, mark_of_all, move_mark, portions, walk
from ...pricing.models import period_components
from ...pricing.money import ZERO, money, plain
from ...pricing.price import Component, Price
from ...schemas.line_item import RatedLineItem
from .items import GroupKey, Names, group_prefix, period_item, window_item, withdraw
from .periods import period_bounds

__all__ = ["Group", "Rates", "Segment", "decode_usage", "encode_usage"]

Usage = tuple[Decimal, str]  # quantity, provider


def encode_usage(usage: Usage) -> bytes:
    """Stored form of an entry: exact quantity, and where the usage was read."""
    return f"{plain(usage[0])}\0{usage[1]}".encode()


def decode_usage(value: bytes) -> Usage:
    """Inverse of `encode_usage`."""
    quantity, provider = value.decode().split("\0")
    return money(quantity), provider


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


@lru_cache(maxsize=4_096)
def _charges_whole_period(price: Price) -> bool:
    """True when some charge depends on the total of the accumulation period."""
    if not price.by_window or price.minimum is not None or price.maximum is not None or price.rounding is not None:
        return True
    return any(tier.flat_price != 0 for tier in price.tiers)


class Segment:
    """A stretch of a group's windows under one price and one accumulation period [start, end) in seconds."""

    __slots__ = ("bounds", "end", "first", "marks", "negatives", "past", "price", "start", "total", "used")

    def __init__(self, price: Price | None, start: int, end: int, first: int, past: int) -> None:
        self.price = price
        self.start, self.end = start, end
        # Entry keys of the segment lie in [first, past): where the period and the price's own interval meet.
        self.first, self.past = first.to_bytes(8, "big"), past.to_bytes(8, "big")
        self.bounds = _bounds(price) if price is not None and price.by_window else ()
        self.marks: list[Mark | None] = [None] * len(self.bounds)
        self.total = ZERO
        self.negatives = 0
        self.used = False

    def charges(self) -> list[Component]:
        """Charges of the whole period as things stand."""
        if self.price is None or not self.used or not _charges_whole_period(self.price):
            return []
        return period_components(self.price, self.total, self.used)


class Group:
    """Entries of one group in chronological order, with the segments they fall into."""

    __slots__ = ("entries", "key", "order", "prefix", "segments")

    def __init__(self, key: GroupKey) -> None:
        self.key = key
        self.prefix = group_prefix(key)
        self.entries: dict[bytes, Usage] = {}
        self.order: list[bytes] = []
        self.segments: dict[tuple[str, int], Segment] = {}

    def load(self, stored: Iterable[tuple[bytes, bytes]], rates: Rates) -> None:
        """Take over entries in order, as a store's scan gives them; marks and totals follow from them."""
        for key, value in stored:
            usage = decode_usage(value)
            self.entries[key] = usage
            self.order.append(key)
            segment = self.segment_of(key, rates)
            segment.total += usage[0]
            segment.negatives += usage[0] < 0
            segment.used = True
        for segment in self.segments.values():
            if segment.bounds and not segment.negatives:
                segment.marks = mark_of_all(segment.bounds, self._within(segment))

    def segment_of(self, key: bytes, rates: Rates) -> Segment:
        """The segment that an entry key falls into, made when it is the first."""
        start = int.from_bytes(key[:8], "big")
        price = rates.price_at(self.key.sku, self.key.unit, start)
        accumulate = "month" if price is None else price.accumulate
        first, past = period_bounds(accumulate, start)
        segment = self.segments.get(("" if price is None else price.id, first))
        if segment is None:
            low, high = first, past
            if price is not None:
                low = max(low, -(-price.effective_from // 1_000_000_000))
                high = high if price.effective_to is None else min(high, -(-price.effective_to // 1_000_000_000))
            segment = self.segments["" if price is None else price.id, first] = Segment(price, first, past, low, high)
        return segment

    def _within(self, segment: Segment) -> Iterator[tuple[bytes, Decimal]]:
        for at in range(bisect_left(self.order, segment.first), bisect_left(self.order, segment.past)):
            key = self.order[at]
            yield key, self.entries[key][0]

    def change(self, deltas: list[tuple[bytes, Decimal, str]], rates: Rates) -> list[RatedLineItem]:
        """Add usage to entries and return the line items that this changes, withdrawn ones included.

        deltas: (entry key, quantity, provider), each key once, in any order.
        """
        by_segment: dict[int, tuple[Segment, list[tuple[bytes, Decimal, str]]]] = {}
        for delta in deltas:
            segment = self.segment_of(delta[0], rates)
            by_segment.setdefault(id(segment), (segment, []))[1].append(delta)
        items: list[RatedLineItem] = []
        for segment, its in by_segment.values():
            self._change_segment(segment, its, rates, items)
        return items

    def _change_segment(self, segment: Segment, deltas: list[tuple[bytes, Decimal, str]], rates: Rates, items: list[RatedLineItem]) -> None:
        price = segment.price
        entries = self.entries
        charges_before = segment.charges()
        tiered = bool(segment.bounds)
        negatives_before = segment.negatives
        # Behind a reversal the marks do not hold: such a segment is walked whole before and after.
        walked = dict(walk(segment.bounds, self._within(segment))) if tiered and negatives_before else None
        marks_before = list(segment.marks)
        before: dict[bytes, Usage | None] = {}
        for key, quantity, provider in deltas:
            old = before[key] = entries.get(key)
            if old is None:
                entries[key] = (quantity, provider)
                if not self.order or key > self.order[-1]:
                    self.order.append(key)
                else:
                    insort(self.order, key)
                segment.negatives += quantity < 0
            else:
                new = old[0] + quantity
                entries[key] = (new, old[1] if old[1] == provider else _one_provider(old[1], provider))
                segment.negatives += (new < 0) - (old[0] < 0)
            segment.total += quantity
        segment.used = True
        if price is None or price.by_window:
            if not tiered:
                for key, old in before.items():
                    usage = entries[key]
                    if usage != old:
                        items.append(window_item(rates.names, self.key, self.prefix, key, price, 0, *usage, rates.window_s))
            elif negatives_before or segment.negatives:
                self._restate_walked(segment, walked, marks_before, before, rates, items)
            else:
                self._restate_marked(segment, deltas, marks_before, before, rates, items)
        if price is not None:
            self._restate_charges(segment, price, charges_before, rates, items)

    def _restate_marked(
        self, segment: Segment, deltas: list[tuple[bytes, Decimal, str]], marks_before: list[Mark | None],
        before: dict[bytes, Usage | None], rates: Rates, items: list[RatedLineItem],
    ) -> None:  # fmt: skip
        """Move the marks, then restate the changed entries and those that a mark passed."""
        affected = dict.fromkeys(before)
        around = _Around(self, segment)
        for index, bound in enumerate(segment.bounds):
            mark = marks_before[index]
            if mark is None and segment.total <= bound:
                break  # bounds ascend, so none of the later ones is reached either, now or before
            shift = ZERO if mark is None else sum((quantity for key, quantity, _ in deltas if key < mark.key), ZERO)
            segment.marks[index], path = move_mark(bound, mark, shift, segment.total, around)
            if mark != segment.marks[index] or len(path) > 1:
                affected.update(dict.fromkeys(path))
        for key in affected:
            old = before.get(key, self.entries[key])
            was = portions(key, old[0], segment.bounds, marks_before) if old is not None else []
            now = portions(key, self.entries[key][0], segment.bounds, segment.marks)
            self._restate_entry(segment, key, was, now, old, rates, items)

    def _restate_walked(
        self, segment: Segment, walked: dict[bytes, list[tuple[int, Decimal]]] | None, marks_before: list[Mark | None],
        before: dict[bytes, Usage | None], rates: Rates, items: list[RatedLineItem],
    ) -> None:  # fmt: skip
        """Restate a segment that has, or had, entries below zero: by the definition, entry by entry."""
        for key, now in walk(segment.bounds, self._within(segment)).items():
            old = before.get(key, self.entries[key])
            if old is None:
                was = []
            else:
                was = portions(key, old[0], segment.bounds, marks_before) if walked is None else walked[key]
            self._restate_entry(segment, key, was, now, old, rates, items)
        segment.marks = [None] * len(segment.bounds) if segment.negatives else mark_of_all(segment.bounds, self._within(segment))

    def _restate_entry(
        self, segment: Segment, key: bytes, was: list[tuple[int, Decimal]], now: list[tuple[int, Decimal]], old: Usage | None,
        rates: Rates, items: list[RatedLineItem],
    ) -> None:  # fmt: skip
        provider = self.entries[key][1]
        relabelled = old is not None and old[1] != provider
        if was == now and not relabelled:
            return
        unchanged = set() if relabelled else set(was)
        current = {index for index, _ in now}
        for part in now:
            if part not in unchanged:
                items.append(window_item(rates.names, self.key, self.prefix, key, segment.price, part[0], part[1], provider, rates.window_s))
        for index, _ in was:
            if index not in current:
                items.append(withdraw(window_item(rates.names, self.key, self.prefix, key, segment.price, index, ZERO, provider, rates.window_s)))

    def _restate_charges(self, segment: Segment, price: Price, was: list[Component], rates: Rates, items: list[RatedLineItem]) -> None:
        now = segment.charges()
        if was == now:
            return
        current = {component.key for component in now}
        for component in now:
            if component not in was:
                items.append(period_item(rates.names, self.key, self.prefix, price, segment.start, segment.end, component))
        for component in was:
            if component.key not in current:
                items.append(withdraw(period_item(rates.names, self.key, self.prefix, price, segment.start, segment.end, component)))

    def line_items(self, rates: Rates) -> dict[str, RatedLineItem]:
        """All line items of the group by id, from the definition alone; the group must have been loaded with these rates."""
        found: list[RatedLineItem] = []
        for segment in self.segments.values():
            price = segment.price
            if price is None or price.by_window:
                for key, parts in walk(segment.bounds, self._within(segment)).items():
                    for index, quantity in parts:
                        found.append(window_item(rates.names, self.key, self.prefix, key, price, index, quantity, self.entries[key][1], rates.window_s))
            if price is not None:
                found += [period_item(rates.names, self.key, self.prefix, price, segment.start, segment.end, c) for c in segment.charges()]
        return {item.x_line_item_id: item for item in found}


def _one_provider(first: str, second: str) -> str:
    """The provider named on a line item whose events name several: the first in the alphabet, whatever the order of arrival."""
    return min(first, second) if first and second else first or second


class _Around:
    """Neighbours of entries within one segment of a loaded group."""

    def __init__(self, group: Group, segment: Segment) -> None:
        self._entries = group.entries
        self._order = group.order
        self._low, self._high = bisect_left(group.order, segment.first), bisect_left(group.order, segment.past)

    def quantity(self, key: bytes) -> Decimal:
        return self._entries[key][0]

    def previous(self, key: bytes) -> bytes | None:
        at = bisect_left(self._order, key) - 1
        return self._order[at] if at >= self._low else None

    def following(self, key: bytes) -> bytes | None:
        at = bisect_left(self._order, key) + 1
        return self._order[at] if at < self._high else None

    def last(self) -> bytes | None:
        return self._order[self._high - 1] if self._high > self._low else None
