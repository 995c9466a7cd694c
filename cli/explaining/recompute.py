"""A line item made anew: from the partition's state and the price book, by the code that rates, and by nothing that is stored of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import localcontext
from typing import NamedTuple

from ...pricing.money import EXACT
from ...pricing.price import Component, Price
from ...schemas.control import month_number
from ...schemas.line_item import RatedLineItem
from ...streams.core.corrections import Closed, corrections
from ...streams.core.groups import Group
from ...streams.core.items import GroupKey, entry_key, group_prefix, split_entry_key
from ...streams.core.segments import Rates, Segment
from ...streams.core.store import ENTRY, Effects, MemoryStore
from .arithmetic import Entry
from .facts import period_of, seconds

__all__ = ["Correction", "Rerated", "group_of", "kind_of", "rerate", "store_of"]


class Correction(NamedTuple):
    """What a correction is between: the line item as it was invoiced, and as it ought to be. None: there is none."""

    invoiced: RatedLineItem | None
    ought: RatedLineItem | None


class Rerated(NamedTuple):
    """What the state says about a line item of usage.

    item: it, made anew; None when by the state there is no such line item. price: None where there is none. entries: those that
    accumulate with it, in chronological order. key: of its own entry, b"" for a charge of a period. since, until: the
    accumulation period in seconds. charges: components of that period. invoiced: entries and charges are those of the last close,
    not of now. impossible: why it cannot be made anew, "" when it was.
    """

    item: RatedLineItem | None
    group: GroupKey
    price: Price | None
    entries: tuple[Entry, ...]
    key: bytes
    since: int
    until: int
    charges: tuple[Component, ...]
    correction: Correction | None = None
    invoiced: bool = False
    impossible: str = ""


def kind_of(item: RatedLineItem) -> str:
    """ "window", "period" or "account", see explanation.Subject."""
    if item.x_adjustment:
        return "account"
    return "window" if item.x_component.startswith("tier-") else "period"


def group_of(item: RatedLineItem, rates: Iterable[Rates]) -> GroupKey | None:
    """The group of a line item of usage; None when no price book (the first one comes first) knows its unit.

    A line item of a window carries its unit. A charge of a period may not: then its price does.
    """
    for each in rates:
        units = [item.consumed_unit] if item.consumed_unit else _units(item, each)
        for unit in units:
            if item.x_corrected_period:
                month = month_number(item.x_corrected_period)
            else:
                month = each.calendar_of(item.sku_id, unit).month_of(seconds(item.billing_period_start))
            return GroupKey(item.billing_account_id, item.sku_id, unit, month)
    return None


def _units(item: RatedLineItem, rates: Rates) -> Iterator[str]:
    book = rates.book
    for unit in sorted(book.units_of(item.sku_id)):
        if any(price.id == item.x_price_id for price in book.series(item.sku_id, unit, item.billing_account_id)):
            yield unit


def store_of(state: Mapping[bytes, bytes]) -> MemoryStore:
    """A store that holds what was read of a partition's state."""
    store = MemoryStore()
    store.apply(Effects((), list(state.items()), {}, 0, []))
    return store


def rerate(item: RatedLineItem, key: GroupKey, store: MemoryStore, rates: Rates, closed: Closed) -> Rerated:
    """Make a line item of usage anew.

    store: all of the group at least. rates: those in force. closed: the last closed month and the rates it was closed with; in a
    closed month the line item is what it was then, and later usage makes corrections.
    """
    final = key.month <= closed.month
    with localcontext(EXACT):
        now = Group(key, rates, final).load(store.scan(ENTRY + group_prefix(key)))
        if not final:
            return _rerated(item, now, now.line_items().get(item.x_line_item_id))
        if closed.rates is None:
            return _rerated(item, now, None)._replace(impossible="the price book with which its month was closed is not on the topic")
        base = closed.base(store, key)
        if not item.x_corrected_line_item_id:
            return _rerated(item, base, base.line_items().get(item.x_line_item_id))._replace(invoiced=True)
        invoiced, ought = base.line_items(), now.line_items()
        billed_in = now.calendar.month_of(seconds(item.billing_period_start))
        made = corrections(invoiced, ought, now.calendar, key.month, billed_in).get(item.x_line_item_id)
        name = item.x_corrected_line_item_id
        found = _rerated(item, now, made)
        if not found.entries:  # a charge that ought not to have been, by prices that cut the month otherwise
            found = _rerated(item, base, made)._replace(invoiced=True)
        found = found._replace(correction=Correction(invoiced.get(name), ought.get(name)))
        if billed_in <= closed.month:
            why = f"it was billed in {period_of(item)}, which is closed too; what it was the difference to is not kept"
            return found._replace(impossible=why)
        return found


def _rerated(item: RatedLineItem, group: Group, made: RatedLineItem | None) -> Rerated:
    """With what it accumulates with."""
    own = b""
    since, until = seconds(item.charge_period_start), seconds(item.charge_period_end)
    if kind_of(item) == "window":
        own = entry_key(since, item.region_id or "", item.resource_id or "", item.x_dimensions)
        segment = group.segment_of(own) if own in group.entries else None
    else:
        segment = _charged_segment(group, item)
    if segment is None:
        return Rerated(made, group.key, None, (), own, since, until, ())
    stretch = segment.stretch
    charges = tuple(segment.charges(group.final))
    return Rerated(made, group.key, stretch.price, tuple(_entries(group, segment)), own, stretch.start, stretch.end, charges)


def _charged_segment(group: Group, item: RatedLineItem) -> Segment | None:
    start = seconds(item.charge_period_start)
    for segment in group.segments.values():
        price = segment.stretch.price
        if price is not None and price.id == item.x_price_id and segment.stretch.start == start:
            return segment
    return None


def _entries(group: Group, segment: Segment) -> Iterator[Entry]:
    for key in group.order:
        if segment.stretch.first <= key < segment.stretch.past:
            start, region, resource, dimensions = split_entry_key(key)
            yield Entry(key, start, region, resource, dimensions, group.entries[key][0])
