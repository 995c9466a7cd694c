"""The running amounts of a month: what each adjustment finds, and where it leaves what it changes.

A row holds what one origin (usage, an adjustment) put on one SKU, per slice of the month. Nothing is overwritten: an adjustment
adds rows, below zero where it takes something away, so every line item is one row or more and the sum of all rows is what is due.

Who sees a row: an adjustment without `skus` sees all; one with `skus` sees the rows of these SKUs. A charge about several SKUs (a
minimum of two of them, say) is shown under a name of its own, and is seen by whoever names that, or all of those SKUs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from ..money import ZERO, money
from .terms import Charge, Usage

__all__ = ["Ledger", "Row", "Stretch", "grouped", "payable", "take"]

ONE = money(1)


class Row(NamedTuple):
    """Amounts per slice."""

    sku: str
    origin: str  # id of the adjustment; "" for usage
    amounts: Sequence[Decimal]
    bought: bool = False  # the purchase of a credit, which only rounding sees


class Stretch:
    """A stretch of usage that has a price, what allowances have left of its quantities, and what that costs."""

    __slots__ = ("costs", "slices", "usage")

    def __init__(self, usage: Usage, costs: list[Decimal]) -> None:
        self.usage = usage
        self.slices: Sequence[Mapping[int, Decimal]] = usage.slices
        self.costs = costs


class Ledger:
    """One account's month while the pipeline runs. bounds: of the slices, from the start of the month to its end."""

    __slots__ = ("about", "bounds", "charges", "currency", "end", "final", "rows", "slices", "start", "stretches")

    def __init__(self, bounds: tuple[int, ...], currency: str, final: bool) -> None:
        self.bounds = bounds
        self.start, self.end = bounds[0], bounds[-1]
        self.slices = len(bounds) - 1
        self.currency = currency
        self.final = final
        self.stretches: list[Stretch] = []
        self.rows: list[Row] = []
        self.charges: list[Charge] = []
        self.about: dict[str, frozenset[str]] = {}  # own name of a charge -> the SKUs it is about

    def sees(self, skus: frozenset[str], sku: str) -> bool:
        """Whether whoever names these SKUs sees the rows of an SKU."""
        about = self.about.get(sku)
        return sku in skus or (about is not None and about <= skus)

    def seen(self, skus: tuple[str, ...]) -> list[Row]:
        """The rows that an adjustment of these SKUs works on; () is all."""
        if not skus:
            return [row for row in self.rows if not row.bought]
        wanted = frozenset(skus)
        return [row for row in self.rows if self.sees(wanted, row.sku) and not row.bought]

    def at(self, slice_number: int, amount: Decimal) -> list[Decimal]:
        """Amounts per slice: all of it in one slice (-1: the last)."""
        amounts = [ZERO] * self.slices
        amounts[slice_number] = amount
        return amounts

    def slice_of(self, time_s: int) -> int:
        """Number of the slice that holds a time; the first one for what began before."""
        return max((number for number in range(self.slices) if self.bounds[number] <= time_s), default=0)

    def post(self, charge: Charge, amounts: Sequence[Decimal], bought: bool = False) -> None:
        """Add a line item and its amounts per slice. One of 0 is left out, but amounts that cancel out over the slices are kept."""
        if charge.cost:
            self.charges.append(charge)
        if any(amounts):
            self.rows.append(Row(charge.sku, charge.adjustment, amounts, bought))

    def post_about(self, skus: tuple[str, ...], own_name: str, charge: Charge, amounts: Sequence[Decimal]) -> None:
        """`post`, for a charge about some SKUs: unless it is shown as an SKU that was chosen for it, whoever names all of them sees it."""
        if skus and charge.sku == own_name:
            self.about[own_name] = frozenset(skus)
        self.post(charge, amounts)

    def whole(self, origin: str, key: str, category: str, sku: str, cost: Decimal, description: str) -> Charge:
        """A line item of one amount: once (or, below zero, minus once) so much."""
        quantity = ONE if cost >= ZERO else -ONE
        return Charge(origin, key, category, sku, quantity, "charge", abs(cost), cost, description, self.start, self.end, False)

    def share(self, origin: str, key: str, category: str, sku: str, base: Decimal, share: Decimal, description: str) -> Charge:
        """A line item of so much money at a share of it: 250 USD x 0.1. base may be below zero, share may not."""
        return Charge(origin, key, category, sku, base, self.currency, share, base * share, description, self.start, self.end, False)


def grouped(rows: Iterable[Row], skus: tuple[str, ...] = ()) -> dict[str, list[Decimal]]:
    """Sum of the rows per SKU: in the order in which the SKUs are listed, others after them by name."""
    sums: dict[str, list[Decimal]] = {}
    for row in rows:
        found = sums.get(row.sku)
        sums[row.sku] = list(row.amounts) if found is None else [a + b for a, b in zip(found, row.amounts, strict=True)]
    if not skus:
        return {sku: sums[sku] for sku in sorted(sums)}
    places = {sku: place for place, sku in enumerate(skus)}
    return {sku: sums[sku] for sku in sorted(sums, key=lambda sku: (places.get(sku, len(places)), sku))}


def payable(sums: dict[str, list[Decimal]]) -> dict[str, list[Decimal]]:
    """What can be taken off each SKU and slice: never below zero, and together what is due of all, or 0 if that is below zero.

    What is below zero (usage taken back, or more units that cost less in all) is set against the same SKU first, against
    earlier slices before later ones because that is where the usage was; then against the last of the other SKUs. How the month
    is sliced changes nothing in the sum of any SKU.
    """
    left = {sku: list(amounts) for sku, amounts in sums.items()}
    owed = sum([_settle(amounts) for amounts in left.values()], ZERO)
    for amounts in reversed(left.values()) if owed else ():
        owed = _reduce(amounts, owed)
    return left


def _settle(amounts: list[Decimal]) -> Decimal:
    """Set what is below zero against earlier slices, the nearest first, then against later ones; what is left of it, as a positive number."""
    owed = ZERO
    for number, amount in enumerate(amounts):
        if amount < ZERO:
            amounts[number] = ZERO
            earlier = amounts[:number]
            owed += _reduce(earlier, -amount)
            amounts[:number] = earlier
        elif owed:
            taken = min(owed, amount)
            amounts[number] = amount - taken
            owed -= taken
    return owed


def _reduce(amounts: list[Decimal], debt: Decimal) -> Decimal:
    """Take a debt off amounts that are not negative, the last first; what is left of the debt."""
    for number in reversed(range(len(amounts))):
        if not debt:
            break
        taken = min(debt, amounts[number])
        amounts[number] -= taken
        debt -= taken
    return debt


def take(amounts: Sequence[Decimal], wanted: Decimal, latest_first: bool = False) -> list[Decimal]:
    """How much of `wanted` comes from each slice of amounts that are not negative: the earliest first, or the latest."""
    taken = [ZERO] * len(amounts)
    numbers = range(len(amounts))
    for number in reversed(numbers) if latest_first else numbers:
        if not wanted:
            break
        taken[number] = min(wanted, amounts[number])
        wanted -= taken[number]
    return taken
