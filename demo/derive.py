"""A price book derived from rows: their own rates where they print one, else a rate that agrees with every printed cost. Pure.

    AWS    lineItem/UnblendedRate          Azure   EffectivePrice
    GCP    prints no rate, and costs with six digits. Each row leaves an interval for the rate; the shortest decimal in the
           intersection of a SKU's intervals is taken. That rate agrees with the rows; it need not be the one of the price list.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from ..pricing.money import ZERO, money, plain
from ..schemas.errors import BadInput
from ..schemas.times import format_time
from .rows import PricedRow

__all__ = ["Derived", "Interval", "derive", "intervals", "shortest_decimal"]

_MAX_DIGITS = 18


class Interval(NamedTuple):
    """Rates that give a printed cost: low <= rate <= high, or rate < high where `open_`."""

    low: Decimal
    high: Decimal
    open_: bool

    def holds(self, rate: Decimal) -> bool:
        """Does this rate agree with the row?"""
        return self.low <= rate and (rate < self.high if self.open_ else rate <= self.high)


class Derived(NamedTuple):
    """The book as YAML, how costs without a rate were read, and the rate of each (sku, unit) that had none."""

    text: str
    rounding: str  # "", "to the nearest" or "down"
    rates: dict[tuple[str, str], Decimal]


def derive(rows: Iterable[PricedRow], currency: str) -> Derived:
    """The price book of all rows with usage. Raises BadInput when rows of one SKU disagree at one time, or on the currency."""
    usage = [row for row in rows if row.event is not None]
    strange = next((row for row in usage if row.currency != currency), None)
    if strange is not None:
        raise BadInput(f"{strange.place}: its costs are in {strange.currency}; a price book has one currency, here {currency}")
    by_sku: dict[tuple[str, str], list[PricedRow]] = defaultdict(list)
    for row in usage:
        if row.event is not None:
            by_sku[row.event.sku, row.event.unit].append(row)
    rounding, rates = _without_rates([row for row in usage if row.rate is None])
    prices = []
    for (sku, unit), members in sorted(by_sku.items()):
        steps = [(0, rates[sku, unit])] if members[0].rate is None else _steps(members)
        for number, (since, rate) in enumerate(steps):
            price = {
                "id": f"{members[0].source.provider}:{sku}:{unit}" + (f":{number + 1}" if number else ""),
                "sku": sku,
                "unit": unit,
                "model": "unit",
                "unit_price": plain(rate),
                "service_name": members[0].product,
                "description": members[0].description[:200] or sku,
                **({"effective_from": format_time(since)} if number else {}),
            }
            prices.append("  - " + json.dumps(price, ensure_ascii=False))
    head = f"# Derived by `ratemill demo` from the rates of {len(usage)} usage rows.\ncurrency: {currency}\nprovider_name: Ratemill demo\nprices:\n"
    return Derived(head + "\n".join(prices) + "\n", rounding, rates)


def _steps(members: list[PricedRow]) -> list[tuple[int, Decimal]]:
    """(first time, rate) of each stretch of one rate: effective-dated prices where a rate changed."""
    steps: list[tuple[int, Decimal]] = []
    for row in sorted(members, key=lambda row: (row.event.time if row.event else 0, row.place)):
        if row.event is None or row.rate is None:
            continue
        if not steps or row.rate != steps[-1][1]:
            if steps and steps[-1][0] == row.event.time:
                raise BadInput(f"{row.place}: the rate {row.rate} of {row.event.sku} contradicts {steps[-1][1]} at the same time")
            steps.append((row.event.time, row.rate))
    return steps


def intervals(row: PricedRow, rounding: str) -> Interval | None:
    """The rates that agree with the row's cost; None when its quantity is zero and says nothing."""
    quantity = row.event.quantity if row.event else ZERO
    if quantity <= 0:
        return None
    unit = row.half_cost * 2
    if rounding == "down":
        return Interval(_divide(row.cost, quantity, up=True), _divide(row.cost + unit, quantity, up=False), True)
    low = max(ZERO, row.cost - row.half_cost)
    return Interval(_divide(low, quantity, up=True), _divide(row.cost + row.half_cost, quantity, up=False), False)


def _without_rates(rows: list[PricedRow]) -> tuple[str, dict[tuple[str, str], Decimal]]:
    """Rates for rows that print none. Were costs rounded to the nearest or down? The way under which every SKU has a rate."""
    if not rows:
        return "", {}
    by_sku: dict[tuple[str, str], list[PricedRow]] = defaultdict(list)
    for row in rows:
        if row.event is not None:
            by_sku[row.event.sku, row.event.unit].append(row)
    for rounding in ("to the nearest", "down"):
        found = {key: _common(members, rounding) for key, members in by_sku.items()}
        if all(rate is not None for rate in found.values()):
            return rounding, {key: rate for key, rate in found.items() if rate is not None}
    # No way fits all: the rate that fits the costliest row, and the comparison names the others.
    return "to the nearest", {key: _common([max(members, key=lambda row: row.cost)], "to the nearest") or ZERO for key, members in by_sku.items()}


def _common(members: list[PricedRow], rounding: str) -> Decimal | None:
    found = [interval for row in members if (interval := intervals(row, rounding)) is not None]
    if not found:
        return ZERO
    low = max(interval.low for interval in found)
    high = min(interval.high for interval in found)
    rate = shortest_decimal(low, high)
    return rate if rate is not None and all(interval.holds(rate) for interval in found) else None


def shortest_decimal(low: Decimal, high: Decimal) -> Decimal | None:
    """The number in [low, high) with the fewest digits after the point, the smallest of those; None when there is none."""
    for digits in range(_MAX_DIGITS + 1):
        unit = money(f"1e-{digits}")
        steps = _divide(low, unit, up=True, digits=0)
        if steps * unit < high or steps * unit == low == high:
            return steps * unit
    return None


def _divide(a: Decimal, b: Decimal, up: bool, digits: int = 30) -> Decimal:
    """a / b to so many digits after the point, rounded up or down: bounds may only shrink an interval."""
    scaled = (a.as_integer_ratio(), b.as_integer_ratio())
    numerator = scaled[0][0] * scaled[1][1] * 10**digits
    denominator = scaled[0][1] * scaled[1][0]
    whole, rest = divmod(numerator, denominator)
    return money(f"{whole + (1 if up and rest else 0)}e-{digits}")
