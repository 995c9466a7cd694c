"""Our costs beside the providers' printed ones, row by row and by account and product. Pure.

A line item adds up a window, so several rows may share one. Each is checked twice, with nothing but decimals:

    the line items of a window cost exactly Σ quantity x rate of its rows (the provider's own rate where it prints one)
    quantity x rate of a row is its printed cost, within what its printed digits leave open
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from ..pricing.money import ZERO, money
from ..schemas.times import NS, format_time
from .rows import PricedRow

__all__ = ["Comparison", "Product", "Verdict", "compare"]

_PERCENT = money("0.01")
_READINGS = 10  # rounded one by one into a cost, at most: its error stays below so many half units
_DOUBLE = money("0.000000000000001")  # relative: a cost that went through a binary float is off by at most about this


class Verdict(NamedTuple):
    """What became of one row. kind: matches, explained, unverifiable, duplicate, not usage, differs."""

    row: PricedRow
    kind: str
    reason: str = ""
    ours: Decimal = ZERO


@dataclass
class Product:
    """Sums of one product for one account; `allowed`: what the printed digits of its rows leave open, together."""

    rows: int = 0
    ours: Decimal = ZERO
    printed: Decimal = ZERO
    allowed: Decimal = ZERO

    @property
    def holds(self) -> bool:
        """Is the difference within what is allowed?"""
        return abs(self.ours - self.printed) <= self.allowed


@dataclass
class Comparison:
    """All verdicts, and the sums by provider, account and product."""

    verdicts: list[Verdict] = field(default_factory=list)
    products: dict[tuple[str, str, str], Product] = field(default_factory=dict)
    windows: int = 0
    inexact_windows: int = 0
    foreign_items: int = 0  # line items that no row led to

    @property
    def holds(self) -> bool:
        """Every row is accounted for, and every sum is the provider's."""
        clean = not self.inexact_windows and not self.foreign_items and all(v.kind != "differs" for v in self.verdicts)
        return clean and all(product.holds for product in self.products.values())

    def count(self, provider: str) -> Counter[str]:
        """Rows of a provider by kind of verdict."""
        return Counter(v.kind for v in self.verdicts if v.row.source.provider == provider)


Key = tuple[str, str, str, str, str, str, str]


def compare(
    rows: Iterable[PricedRow], items: Iterable[Mapping[str, Any]], window_s: int, rounding: str, derived: Mapping[tuple[str, str], Decimal]
) -> Comparison:
    """Compare rows with line items (as JSON objects). rounding, derived: as `derive` gave them, for rows without a rate."""
    result = Comparison()
    billed: dict[Key, Decimal] = defaultdict(lambda: ZERO)
    for item in items:
        billed[_item_key(item)] += money(item["BilledCost"])
    counted: dict[tuple[str, str, str], PricedRow] = {}
    windows: dict[Key, list[PricedRow]] = defaultdict(list)
    for row in rows:
        event = row.event
        if event is None:
            result.verdicts.append(Verdict(row, "not usage", row.refused))
        elif (first := counted.setdefault((event.account, event.source, event.id), row)) is not row:
            result.verdicts.append(Verdict(row, "duplicate", f"the same usage as {first.place}"))
        else:
            windows[_row_key(row, window_s)].append(row)
    result.windows = len(windows)
    result.foreign_items = len(billed.keys() - windows.keys())
    for key, members in windows.items():
        exact = billed.get(key) == sum((_cost(row, derived) for row in members), ZERO)
        result.inexact_windows += not exact
        for row in members:
            cost = _cost(row, derived)
            verdict = _verdict(row, cost, rounding) if exact else Verdict(row, "differs", "its window's line items cost something else", cost)
            result.verdicts.append(verdict)
            product = result.products.setdefault((row.source.provider, key[0], row.product), Product())
            product.rows += 1
            product.printed += row.cost
            product.allowed += _allowed(row, rounding) + abs(row.cost) * _DOUBLE
        first = members[0]
        result.products[first.source.provider, key[0], first.product].ours += billed.get(key, ZERO)
    return result


def _item_key(item: Mapping[str, Any]) -> Key:
    return (
        item["BillingAccountId"], item["SkuId"], item.get("PricingUnit") or "", item["ChargePeriodStart"], item.get("RegionId") or "",
        item.get("ResourceId") or "", item.get("x_Dimensions") or "",
    )  # fmt: skip


def _row_key(row: PricedRow, window_s: int) -> Key:
    e = row.event
    if e is None:
        raise ValueError("a row without usage has no window")
    start = e.time // (window_s * NS) * window_s * NS
    return (e.account, e.sku, e.unit, format_time(start), e.region, e.resource, e.dimensions)


def _rate(row: PricedRow, derived: Mapping[tuple[str, str], Decimal]) -> Decimal:
    if row.rate is not None or row.event is None:
        return row.rate or ZERO
    return derived.get((row.event.sku, row.event.unit), ZERO)


def _cost(row: PricedRow, derived: Mapping[tuple[str, str], Decimal]) -> Decimal:
    return (row.event.quantity if row.event else ZERO) * _rate(row, derived)


def _quantity_part(row: PricedRow) -> Decimal:
    return row.half_quantity * (row.rate or ZERO)


def _allowed(row: PricedRow, rounding: str) -> Decimal:
    """By how much quantity x rate may miss the printed cost when every printed number is a rounded one."""
    quantity = abs(row.event.quantity) if row.event else ZERO
    cost = row.half_cost * 2 if row.rate is None and rounding == "down" else row.half_cost
    return cost + _quantity_part(row) + quantity * row.half_rate


def _verdict(row: PricedRow, ours: Decimal, rounding: str) -> Verdict:
    difference = abs(ours - row.cost)
    if row.rate is None and row.cost == 0 and row.event is not None and row.event.quantity:
        return Verdict(row, "unverifiable", "no rate is printed, and the cost is printed as 0 with six digits: any small enough rate gives it", ours)
    if difference <= _allowed(row, rounding):
        if _quantity_part(row) > abs(row.cost) * _PERCENT and difference > row.half_cost:
            return Verdict(row, "unverifiable", "the quantity is printed with one or two digits, which leave more than 1 % of the cost open", ours)
        return Verdict(row, "matches", "", ours)
    # Known ways in which a provider's own arithmetic leaves the digits that it prints.
    if row.source.provider == "aws" and difference <= row.half_cost * _READINGS:
        return Verdict(row, "explained", "the printed cost adds up readings that were rounded to ten digits one by one (5.2E-9 is 2 x 2.6E-9)", ours)
    if difference <= abs(row.cost) * _DOUBLE:
        return Verdict(row, "explained", "the printed cost has the noise of a binary float in its last digits", ours)
    return Verdict(row, "differs", "quantity x rate is not the printed cost, for no reason that we know", ours)
