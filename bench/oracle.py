"""What the bench's line items must add up to, computed without any code of Ratemill.

It reads the raw records back from the topic, drops duplicates with one set, adds up exact decimals per (account, SKU, month) and
prices the sum. Since the line items of an (account, SKU, month) must cost what its total quantity costs, that is the whole truth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Context, Decimal, Inexact, localcontext
from typing import Any, NamedTuple

import msgspec
import orjson

__all__ = [
    "Expected", "Item", "SkuVariance", "Tiers", "Truth", "Variance", "compare", "compare_variances", "cost_of", "differences", "expect", "latest",
    "shortened",
]  # fmt: skip

# Enough digits for any sum here; if it ever were not, the trap says so instead of rounding.
EXACT = Context(prec=60, traps=[Inexact])
SHOWN = 5

Tiers = Sequence[tuple[str | None, str]]


class Expected(msgspec.Struct):
    """The truth about one raw topic."""

    received: int = 0
    duplicates: int = 0
    # "account sku month" -> [quantity, number of one-hour windows]
    groups: dict[str, tuple[Decimal, int]] = {}

    @property
    def windows(self) -> int:
        """One-hour windows with usage, over all accounts and SKUs."""
        return sum(windows for _, windows in self.groups.values())


class Item(msgspec.Struct, gc=False):
    """What the oracle looks at of a line item on `usage.rated`."""

    id: str = msgspec.field(name="x_LineItemId")
    revision: int = msgspec.field(name="x_Revision")
    account: str = msgspec.field(name="BillingAccountId")
    sku: str = msgspec.field(name="SkuId")
    start: str = msgspec.field(name="ChargePeriodStart")
    cost: str = msgspec.field(name="BilledCost")
    unit_price: str | None = msgspec.field(name="ListUnitPrice", default=None)
    quantity: str | None = msgspec.field(name="ConsumedQuantity", default=None)
    unpriced: bool = msgspec.field(name="x_Unpriced", default=False)
    withdrawn: bool = msgspec.field(name="x_Withdrawn", default=False)


class SkuVariance(msgspec.Struct):
    """One SKU of a variance."""

    sku: str
    live: str
    draft: str


class Variance(msgspec.Struct):
    """What the oracle looks at of a record on `ratemill.shadow`."""

    account: str
    period: str
    skus: list[SkuVariance]


class Latest(NamedTuple):
    """The newest revision of every line item, and what was written to get there."""

    items: dict[str, Item]
    written: int


class Truth:
    """The truth about raw records in the plain form, taken in batch by batch: a long run's topic need not fit into memory."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._quantities: dict[str, Decimal] = {}
        self._windows: set[str] = set()
        self._received = self._duplicates = 0

    def add(self, values: Iterable[bytes]) -> None:
        """Take in records: one event each, or an array of events."""
        with localcontext(EXACT):
            for value in values:
                read = orjson.loads(value)
                for event in read if isinstance(read, list) else (read,):
                    self._add(event)

    def _add(self, event: dict[str, Any]) -> None:
        self._received += 1
        account, data, at = event["subject"], event["data"], event["time"]
        identity = f"{account}\0{event['source']}\0{event['id']}"
        if identity in self._seen:
            self._duplicates += 1
            return
        self._seen.add(identity)
        group = f"{account} {data['sku']} {at[:7]}"
        self._quantities[group] = self._quantities.get(group, 0) + Decimal(data["quantity"])
        self._windows.add(f"{group} {at[8:13]}")

    def expected(self) -> Expected:
        """What follows from everything taken in so far."""
        counts = dict.fromkeys(self._quantities, 0)
        for window in self._windows:
            counts[window.rpartition(" ")[0]] += 1
        return Expected(self._received, self._duplicates, {group: (quantity, counts[group]) for group, quantity in self._quantities.items()})


def expect(values: Iterable[bytes]) -> Expected:
    """The truth about raw records that are at hand."""
    truth = Truth()
    truth.add(values)
    return truth.expected()


def cost_of(tiers: Tiers, quantity: Decimal) -> Decimal:
    """Each unit at the price of the tier it falls in."""
    with localcontext(EXACT):
        cost, below = Decimal(0), Decimal(0)
        for bound, price in tiers:
            upper = quantity if bound is None else min(quantity, Decimal(bound))
            if upper > below:
                cost += (upper - below) * Decimal(price)
                below = upper
        return cost


def latest(values: Iterable[bytes], known: Latest | None = None) -> Latest:
    """The newest revision of each line item among records of `usage.rated`, and those known before, which are taken over."""
    decode = msgspec.json.Decoder(Item).decode
    items, written = known or Latest({}, 0)
    for value in values:
        written += 1
        item = decode(value)
        other = items.get(item.id)
        if other is None or item.revision > other.revision:
            items[item.id] = item
    return Latest(items, written)


def compare(expected: Expected, prices: Mapping[str, Tiers], items: Iterable[Item]) -> list[str]:
    """What does not agree, in words; empty when everything does. `items`: the newest revision of each line item."""
    found: dict[str, list[Decimal]] = {}
    windows: dict[str, set[str]] = {}
    wrong: list[str] = []
    with localcontext(EXACT):
        for item in items:
            if item.withdrawn:
                if Decimal(item.cost):
                    wrong.append(f"line item {item.id} is withdrawn and costs {item.cost}")
                continue
            group = f"{item.account} {item.sku} {item.start[:7]}"
            cost, quantity = Decimal(item.cost), Decimal(item.quantity or 0)
            if item.unpriced or item.unit_price is None or cost != quantity * Decimal(item.unit_price):
                wrong.append(f"line item {item.id} ({group}): {item.quantity} x {item.unit_price} is not {item.cost}")
            sums = found.setdefault(group, [Decimal(0), Decimal(0)])
            sums[0] += quantity
            sums[1] += cost
            windows.setdefault(group, set()).add(item.start)
    return shortened(wrong + differences(expected, prices, found, windows))


def differences(
    expected: Expected, prices: Mapping[str, Tiers], found: Mapping[str, Sequence[Decimal]], windows: Mapping[str, Collection[str]]
) -> list[str]:
    """Groups whose (quantity, cost) or number of windows is not the expected one, in words."""
    wrong = []
    for group in expected.groups.keys() | found.keys():
        quantity, count = expected.groups.get(group, (Decimal(0), 0))
        cost = cost_of(prices[group.split(" ")[1]], quantity)
        got = found.get(group, (Decimal(0), Decimal(0)))
        if list(got) != [quantity, cost] or len(windows.get(group, ())) != count:
            what = f"quantity {got[0]} cost {got[1]} in {len(windows.get(group, ()))} windows"
            wrong.append(f"{group}: {what}, expected quantity {quantity} cost {cost} in {count}")
    return wrong


def shortened(wrong: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    return wrong[:SHOWN] + ([f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else [])


def compare_variances(expected: Expected, live: Mapping[str, Tiers], draft: Mapping[str, Tiers], found: Iterable[Variance]) -> list[str]:
    """What does not agree of a draft that ran beside the live book, in words; empty when everything does."""
    got = {f"{each.account} {row.sku} {each.period}": (Decimal(row.live), Decimal(row.draft)) for each in found for row in each.skus}
    wrong = []
    for group in expected.groups.keys() | got.keys():
        quantity, _ = expected.groups.get(group, (Decimal(0), 0))
        sku = group.split(" ")[1]
        wanted = cost_of(live[sku], quantity), cost_of(draft[sku], quantity)
        if got.get(group) != wanted:
            wrong.append(f"shadow of {group}: {got.get(group)}, expected {wanted}")
    return shortened(wrong)
