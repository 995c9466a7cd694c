"""Closed months: what changes in them is billed in the open month, as corrections, and what was invoiced stays as it was.

What was invoiced of a group is what its entries and the price book gave when the last month was closed (its base). What ought
to have been is what they give now. A correction is the difference, line item by line item; while the open month is open it is
restated like any other line item, and when that month is closed too, the base moves on.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

from ...metering.calendar import Calendar
from ...pricing.money import ZERO, money, plain
from ...schemas.control import month_text
from ...schemas.line_item import RatedLineItem
from .groups import Group
from .items import GroupKey, derived_id, group_prefix
from .periods import text
from .segments import Rates
from .store import ENTRY, FROZEN, Store

__all__ = ["Closed", "corrected_cost", "corrections"]


class Closed:
    """The closed months of a partition: the last one, and the rates that held when it was closed."""

    def __init__(self, month: int = 0, rates: Rates | None = None, first: int = 0) -> None:
        """month: the last one. rates: those that held when it was closed. first: the month of the very first close."""
        self.month = month
        self.rates = rates
        self.first = first or month

    def base(self, store: Store, key: GroupKey) -> Group:
        """A group as it was invoiced."""
        if self.rates is None:
            raise ValueError("no month is closed")
        prefix = group_prefix(key)
        tag = store.get(FROZEN + prefix)
        stored = store.scan(ENTRY + prefix)
        if tag == self._tag():
            stored = [(entry, value) for entry, value in store.scan(FROZEN + prefix) if entry]
        return Group(key, self.rates, final=True).load(stored)

    def freeze(self, store: Store, key: GroupKey) -> list[tuple[bytes, bytes]]:
        """What to store before a group of a closed month changes for the first time since the last close: its entries, once more."""
        prefix = group_prefix(key)
        if store.get(FROZEN + prefix) == self._tag():
            return []
        now = dict(store.scan(ENTRY + prefix))
        old = {entry: b"" for entry, _ in store.scan(FROZEN + prefix) if entry}
        return [(FROZEN + prefix, self._tag()), *((FROZEN + prefix + entry, value) for entry, value in (old | now).items())]

    def _tag(self) -> bytes:
        return self.month.to_bytes(4, "big")


def corrections(
    base: Mapping[str, RatedLineItem], now: Mapping[str, RatedLineItem], calendar: Calendar, corrected: int, billed_in: int
) -> dict[str, RatedLineItem]:
    """What leads from the line items that were invoiced to those that ought to have been, billed in another month."""
    found: dict[str, RatedLineItem] = {}
    period = text(calendar.month_start(billed_in)), text(calendar.month_start(billed_in + 1))
    for name in [*base, *(name for name in now if name not in base)]:
        old, new = base.get(name), now.get(name)
        if old == new:
            continue
        parts = []
        if old is not None and new is not None and _alike(old, new):
            parts.append((new, "delta", money(new.pricing_quantity or "0") - money(old.pricing_quantity or "0"), _consumed(new) - _consumed(old)))
        else:
            if old is not None:
                parts.append((old, "reversal", -money(old.pricing_quantity or "0"), -_consumed(old)))
            if new is not None:
                parts.append((new, "rebooked", money(new.pricing_quantity or "0"), _consumed(new)))
        for item, kind, quantity, consumed in parts:
            if not quantity and not consumed:
                continue
            identity = derived_id(name, kind, billed_in)
            cost = plain(quantity * money(item.list_unit_price or "0"))
            found[identity] = replace(
                item, x_line_item_id=identity, charge_class="Correction", billing_period_start=period[0], billing_period_end=period[1],
                billed_cost=cost, effective_cost=cost, list_cost=cost, contracted_cost=cost, pricing_quantity=plain(quantity),
                consumed_quantity=None if item.consumed_quantity is None else plain(consumed),
                x_corrected_period=month_text(corrected), x_corrected_line_item_id=name,
            )  # fmt: skip
    return found


def _consumed(item: RatedLineItem) -> Decimal:
    return money(item.consumed_quantity) if item.consumed_quantity is not None else ZERO


def _alike(old: RatedLineItem, new: RatedLineItem) -> bool:
    """Whether two line items differ in their quantities only: then one correction can stand for the difference."""
    return (old.list_unit_price, old.x_price_version, old.x_unpriced, old.billing_currency, old.sku_price_id, old.x_usage_provider) == (
        new.list_unit_price, new.x_price_version, new.x_unpriced, new.billing_currency, new.sku_price_id, new.x_usage_provider,
    )  # fmt: skip


def corrected_cost(items: Mapping[str, RatedLineItem]) -> Decimal:
    """What corrections come to."""
    return sum((money(item.billed_cost) for item in items.values()), ZERO)
