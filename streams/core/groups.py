"""One group: the usage of one (account, sku, unit, month), and what a change of it does to its line items.

A group is split into segments: stretches of windows under one price and one accumulation period. Everything here is a pure
function of the entries and the prices; a group keeps marks and totals only so as not to compute them again.
"""

from __future__ import annotations

from binascii import hexlify
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from ...pricing.chronology import Mark, mark_of_all, move_mark, portions, walk
from ...pricing.money import ZERO, plain
from ...pricing.price import Component, Price
from ...schemas.line_item import RatedLineItem, encode_json
from ...schemas.usage_event import hot
from .entries import Delta, Set, Usage, changed, decode_usage, encode_usage, one_provider
from .items import GroupKey, WindowWriter, changes_between, group_prefix, period_item, window_item, withdraw
from .segments import Rates, Segment
from .store import ENTRY

__all__ = ["Group", "Out", "Rates"]


class Out(NamedTuple):
    """Where the results of changes are gathered. Line items of windows, by far the most, are written at once;
    charges of the whole period and withdrawn line items are objects still."""

    written: list[tuple[bytes, bytes]]  # x_LineItemId, JSON
    items: list[RatedLineItem]
    puts: list[tuple[bytes, bytes]]  # store key, value
    unpriced: list[int]  # line items written without a price, one number per change


class Group:
    """Entries of one group in chronological order, with the segments they fall into."""

    __slots__ = ("calendar", "entries", "final", "key", "order", "prefix", "quoted", "rates", "segments")

    def __init__(self, key: GroupKey, rates: Rates, final: bool = False) -> None:
        """rates: of all accounts; the group takes those of its own. final: its month is closed."""
        self.key = key
        self.rates = rates.of(key.account)
        self.final = final
        self.calendar = rates.calendar_of(key.sku, key.unit)
        self.prefix = group_prefix(key)
        self.quoted = encode_json(key.account)
        self.entries: dict[bytes, Usage] = {}
        self.order: list[bytes] = []
        self.segments: dict[tuple[str, int], Segment] = {}

    @property
    def standing(self) -> tuple[int, bytes | None] | None:
        """(bounds reached, entry key at which the last of them was) of a group in one segment and without reversals; else None."""
        segments = list(self.segments.values())
        if len(segments) != 1 or segments[0].negatives:
            return None
        marks = segments[0].marks
        reached = _reached(marks)
        last = marks[reached - 1] if reached else None
        return reached, None if last is None else last.key

    def load(self, stored: Iterable[tuple[bytes, bytes]]) -> Group:
        """Take over entries in order, as a store's scan gives them; marks and totals follow from them. Returns itself."""
        return self.take((key, decode_usage(value)) for key, value in stored if value)

    def take(self, entries: Iterable[tuple[bytes, Usage]]) -> Group:
        """As `load`, from decoded entries in order."""
        for key, usage in entries:
            self.entries[key] = usage
            self.order.append(key)
            segment = self.segment_of(key)
            segment.total += usage[0]
            segment.negatives += usage[0] < 0
            segment.used = True
            segment.count(key, usage[0])
        for segment in self.segments.values():
            if segment.stretch.bounds and not segment.negatives:
                segment.marks = mark_of_all(segment.stretch.bounds, self._within(segment))
        return self

    def segment_of(self, key: bytes) -> Segment:
        """The segment that an entry key falls into, made when it is the first."""
        stretch = self.rates.stretch_at(self.key.sku, self.key.unit, int.from_bytes(key[:8], "big"))
        segment = self.segments.get(stretch.key)
        if segment is None:
            segment = self.segments[stretch.key] = Segment(stretch)
        return segment

    def _within(self, segment: Segment) -> Iterator[tuple[bytes, Decimal]]:
        for at in range(bisect_left(self.order, segment.stretch.first), bisect_left(self.order, segment.stretch.past)):
            key = self.order[at]
            yield key, self.entries[key][0]

    def change(self, deltas: list[Delta], revision: int, out: Out) -> None:
        """Add usage to entries; `out` receives the line items that this changes, and the entries as they are to be stored.

        deltas: (entry key, quantity, provider), each key once, in any order.
        """
        writer = self.rates.writer(revision)
        stretch = self.rates.whole_month(self.key[1], self.key[2], self.key[3])
        if stretch is not None:
            only = self.segments.get(stretch.key)
            if only is None:
                only = self.segments[stretch.key] = Segment(stretch)
            if not self._append(only, deltas, writer, out):
                self._change_segment(only, deltas, _Restating(self, writer, out))
                self._store(deltas, out)
            return
        by_segment: dict[Segment, list[Delta]] = {}
        for delta in deltas:
            by_segment.setdefault(self.segment_of(delta[0]), []).append(delta)
        for segment, its in by_segment.items():
            self._change_segment(segment, its, _Restating(self, writer, out))
        self._store(deltas, out)

    def set(self, sets: list[Set], deltas: list[Delta], revision: int, out: Out) -> list[Delta]:
        """Let entries have the quantities given (None: the entry goes). Returns what is still to be added by `change`, deltas included.

        An entry that goes, or that gets another provider, is rare: then the whole group is computed anew, before and after.
        """
        more: list[Delta] = []
        for key, quantity, provider in sets:
            old = self.entries.get(key)
            if quantity is None or (old is not None and old[1] != provider):
                if (quantity, old) != (None, None):
                    self._redefine(deltas, sets, out)
                    return []
            elif old is None or old[0] != quantity:
                more.append((key, quantity - (ZERO if old is None else old[0]), provider))
        return deltas + more

    def _redefine(self, deltas: list[Delta], sets: list[Set], out: Out) -> None:
        before = self.line_items()
        entries, puts = changed(self.entries, deltas, sets)
        self.entries, self.order, self.segments = {}, [], {}
        self.take(entries.items())
        out.items.extend(changes_between(before, self.line_items()))
        out.puts.extend((ENTRY + self.prefix + key, value) for key, value in puts)

    def _store(self, deltas: list[Delta], out: Out) -> None:
        head = ENTRY + self.prefix
        out.puts.extend([(head + key, encode_usage(self.entries[key])) for key, _, _ in deltas])

    def _append(self, segment: Segment, deltas: list[Delta], writer: WindowWriter, out: Out) -> bool:
        """The common case in one pass: usage behind the last mark and short of the next bound, no charge of the whole period.

        All changed entries then lie in one tier as a whole, before and after, and no mark moves. False (and nothing done) when
        it is not so; `_change_segment` then does it the general way. This loop is where most of the time of rating goes.
        """
        _, price, _, _, _, _, bounds, by_window, charged, selector, cuts = segment.stretch
        if segment.negatives or charged or not by_window or selector or cuts:
            return False
        total = segment.total
        for _, quantity, _ in deltas:
            if quantity < ZERO:
                return False
            total += quantity
        tier = 0
        if bounds:
            reached = _reached(segment.marks)
            if reached < len(bounds) and total > bounds[reached]:
                return False
            if reached and min(deltas)[0] <= segment.marks[reached - 1].key:  # type: ignore[union-attr]
                return False
            tier = reached
        segment.total, segment.used = total, True
        group, prefix, entries, order = self.key, self.prefix, self.entries, self.order
        _, sku, unit, _ = group
        quoted = self.quoted
        forms, revision = writer.forms(price, tier), writer.revision
        head = ENTRY + prefix
        written, put = out.written, out.puts.append
        known = len(written)
        if hot is not None:
            hot.append_entries(
                deltas, entries, order, head, prefix, quoted, sku, unit, price is not None, forms,
                lambda key, provider: writer.form(group, key, price, tier, provider), revision, written, out.puts,
            )  # fmt: skip
            if price is None:
                out.unpriced.append(len(written) - known)
            return True
        for key, quantity, provider in deltas:
            old = entries.get(key)
            if old is None:
                if not order or key > order[-1]:
                    order.append(key)
                else:
                    insort(order, key)
            else:
                if old[1] != provider:
                    provider = one_provider(old[1], provider)
                quantity += old[0]
            entries[key] = usage = (quantity, provider)
            number = plain(quantity).encode()
            put((head + key, b"%b\0%b" % (number, provider.encode())))
            if usage == old:
                continue
            form = forms.get((key, provider, sku, unit)) or writer.form(group, key, price, tier, provider)
            text, unit_price, component = form
            identity = hexlify(blake2b(b"%b\0%b\0%b" % (prefix, key, component), digest_size=16).digest())
            cost = b"0" if price is None else plain(quantity * unit_price).encode()
            written.append((identity, text % (identity, revision, quoted, cost, cost, cost, cost, number, number)))
        if price is None:
            out.unpriced.append(len(written) - known)
        return True

    def _change_segment(self, segment: Segment, deltas: list[Delta], restating: _Restating) -> None:
        _, price, _, _, _, _, bounds, by_window, charged, _, _ = segment.stretch
        charges_before = segment.charges(self.final) if charged else []
        negatives_before = segment.negatives
        # Behind a reversal the marks do not hold: such a segment is walked whole before and after.
        walked = dict(walk(bounds, self._within(segment))) if bounds and negatives_before else None
        marks_before = segment.marks
        before = self._add(segment, deltas)
        if by_window:
            if not bounds:
                restating.whole(segment, before)
            elif negatives_before or segment.negatives:
                self._restate_walked(segment, walked, marks_before, before, restating)
            else:
                self._restate_marked(segment, deltas, marks_before, before, restating)
        if charged and price is not None:
            restating.charges(segment, charges_before)

    def _add(self, segment: Segment, deltas: list[Delta]) -> dict[bytes, Usage | None]:
        """Add usage to the entries of a segment; returns what they were before."""
        entries, order = self.entries, self.order
        before: dict[bytes, Usage | None] = {}
        total, negatives = segment.total, segment.negatives
        for key, quantity, provider in deltas:
            old = before[key] = entries.get(key)
            if old is None:
                entries[key] = (quantity, provider)
                if not order or key > order[-1]:
                    order.append(key)
                else:
                    insort(order, key)
                if quantity < ZERO:
                    negatives += 1
            else:
                new = old[0] + quantity
                entries[key] = (new, old[1] if old[1] == provider else one_provider(old[1], provider))
                negatives += (new < ZERO) - (old[0] < ZERO)
            total += quantity
            segment.count(key, quantity)
        segment.total, segment.negatives, segment.used = total, negatives, True
        return before

    def _restate_marked(
        self, segment: Segment, deltas: list[Delta], marks_before: Sequence[Mark | None], before: dict[bytes, Usage | None], restating: _Restating
    ) -> None:
        """Move the marks, then restate the changed entries and those that a mark passed."""
        affected = dict.fromkeys(before)
        around = _Around(self, segment)
        bounds = segment.stretch.bounds
        marks = segment.marks = list(marks_before)
        for index, bound in enumerate(bounds):
            mark = marks_before[index]
            if mark is None and segment.total <= bound:
                break  # bounds ascend, so none of the later ones is reached either, now or before
            shift = ZERO if mark is None else sum((quantity for key, quantity, _ in deltas if key < mark.key), ZERO)
            marks[index], path = move_mark(bound, mark, shift, segment.total, around)
            if mark != marks[index] or len(path) > 1:
                affected.update(dict.fromkeys(path))
        for key in affected:
            old = before.get(key, self.entries[key])
            was = portions(key, old[0], bounds, marks_before) if old is not None else []
            now = portions(key, self.entries[key][0], bounds, marks)
            restating.entry(segment, key, was, now, old)

    def _restate_walked(
        self, segment: Segment, walked: dict[bytes, list[tuple[int, Decimal]]] | None, marks_before: Sequence[Mark | None],
        before: dict[bytes, Usage | None], restating: _Restating,
    ) -> None:  # fmt: skip
        """Restate a segment that has, or had, entries below zero: by the definition, entry by entry."""
        bounds = segment.stretch.bounds
        for key, now in walk(bounds, self._within(segment)).items():
            old = before.get(key, self.entries[key])
            if old is None:
                was = []
            else:
                was = portions(key, old[0], bounds, marks_before) if walked is None else walked[key]
            restating.entry(segment, key, was, now, old)
        segment.marks = [None] * len(bounds) if segment.negatives else mark_of_all(bounds, self._within(segment))

    def line_items(self) -> dict[str, RatedLineItem]:
        """All line items of the group by id, from the definition alone."""
        found: list[RatedLineItem] = []
        for segment in self.segments.values():
            stretch = segment.stretch
            if stretch.selector:
                found += [self.selected_item(segment, key, self.entries[key][0]) for key, _ in self._within(segment)]
            elif stretch.by_window:
                for key, parts in walk(stretch.bounds, self._within(segment)).items():
                    found += [self.item(key, stretch.price, index, quantity) for index, quantity in parts]
            found += [self.charge_item(segment, component) for component in segment.charges(self.final)]
        return {item.x_line_item_id: item for item in found}

    def item(self, key: bytes, price: Price | None, tier: int, quantity: Decimal, own_price: Decimal | None = None) -> RatedLineItem:
        """Line item of a part of an entry."""
        provider = self.entries[key][1]
        return window_item(self.rates.names, self.calendar, self.key, self.prefix, key, price, tier, quantity, provider, own_price)

    def selected_item(self, segment: Segment, key: bytes, quantity: Decimal) -> RatedLineItem:
        """Line item of an entry whose price depends on what it is, not on the total."""
        cell = segment.cell(key)
        return self.item(key, None, 0, quantity) if cell is None else self.item(key, segment.stretch.price, cell[0], quantity, cell[1])

    def charge_item(self, segment: Segment, component: Component) -> RatedLineItem:
        """Line item of a charge of a whole period."""
        stretch = segment.stretch
        if stretch.price is None:
            raise ValueError("usage without a price has no charges")
        return period_item(self.rates.names, self.calendar, self.key, self.prefix, stretch.price, stretch.start, stretch.end, component)


class _Restating:
    """Where the line items of one change go."""

    __slots__ = ("_group", "_items", "_out", "_unpriced", "_writer")

    def __init__(self, group: Group, writer: WindowWriter, out: Out) -> None:
        self._group, self._writer, self._out, self._items, self._unpriced = group, writer, out.written, out.items, out.unpriced

    def whole(self, segment: Segment, before: dict[bytes, Usage | None]) -> None:
        """Changed entries of a segment without tiers."""
        group = self._group
        known = len(self._out)
        for key, old in before.items():
            usage = group.entries[key]
            if usage == old:
                continue
            if segment.stretch.selector:
                self._items.append(group.selected_item(segment, key, usage[0]))
            else:
                self._out.append(self._writer.write(group.key, group.prefix, key, segment.stretch.price, 0, *usage))
        if segment.stretch.price is None:
            self._unpriced.append(len(self._out) - known)

    def entry(self, segment: Segment, key: bytes, was: list[tuple[int, Decimal]], now: list[tuple[int, Decimal]], old: Usage | None) -> None:
        """One entry, split over tiers before and after."""
        group, price = self._group, segment.stretch.price
        provider = group.entries[key][1]
        relabelled = old is not None and old[1] != provider
        if was == now and not relabelled:
            return
        for index, quantity in now:
            if relabelled or (index, quantity) not in was:
                self._out.append(self._writer.write(group.key, group.prefix, key, price, index, quantity, provider))
        current = {index for index, _ in now}
        self._items += [withdraw(group.item(key, price, index, ZERO)) for index, _ in was if index not in current]

    def charges(self, segment: Segment, was: list[Component]) -> None:
        """Charges of the whole period, before and now."""
        group = self._group
        now = segment.charges(group.final)
        if was == now:
            return
        current = {component.key for component in now}
        self._items += [group.charge_item(segment, component) for component in now if component not in was]
        self._items += [withdraw(group.charge_item(segment, component)) for component in was if component.key not in current]


def _reached(marks: Sequence[Mark | None]) -> int:
    """How many bounds the total has passed: marks are there for those, and bounds ascend."""
    reached = len(marks)
    while reached and marks[reached - 1] is None:
        reached -= 1
    return reached


class _Around:
    """Neighbours of entries within one segment of a loaded group."""

    def __init__(self, group: Group, segment: Segment) -> None:
        self._entries = group.entries
        self._order = group.order
        self._low, self._high = bisect_left(group.order, segment.stretch.first), bisect_left(group.order, segment.stretch.past)

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
