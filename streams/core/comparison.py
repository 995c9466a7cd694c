"""What usage costs under two price books, side by side: the one comparison behind `prices diff` and shadow rating.

A side is made of line items (`spend`) or of totals kept elsewhere; `compare` pairs two sides, `grouped` adds pairs up and ranks
them, `totals` is the last line of the table. Amounts are exact decimals throughout, and amounts of different currencies are
never added or subtracted: an account that changes its currency has a row in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, localcontext
from typing import NamedTuple

from ...pricing.money import EXACT, ZERO, money, round_to
from ...schemas.line_item import RatedLineItem

__all__ = ["CostKey", "Pair", "Spent", "compare", "grouped", "percent", "spend", "totals"]

_HUNDRED = money(100)


class CostKey(NamedTuple):
    """Whose cost, for what, in which money. A charge of the account (a discount, a minimum, …) has its adjustment for an SKU."""

    account: str
    sku: str
    currency: str


class Spent(NamedTuple):
    """Exact cost, and how many line items of usage had no price."""

    cost: Decimal = ZERO
    unpriced: int = 0

    def plus(self, cost: Decimal, unpriced: int = 0) -> Spent:
        """This, with more."""
        return Spent(self.cost + cost, self.unpriced + unpriced)


class Pair(NamedTuple):
    """One row: the same usage under the old book and under the new one."""

    account: str
    sku: str
    currency: str
    then: Decimal
    now: Decimal
    unpriced_then: int = 0
    unpriced_now: int = 0

    @property
    def difference(self) -> Decimal:
        """What the new book adds."""
        with localcontext(EXACT):
            return self.now - self.then


def spend(costs: dict[CostKey, Spent], items: Iterable[RatedLineItem]) -> None:
    """Add line items to one side. Withdrawn ones have cost 0 and stand for nothing."""
    with localcontext(EXACT):
        for item in items:
            if item.x_withdrawn:
                continue
            key = CostKey(item.billing_account_id, item.sku_id or item.x_adjustment, item.billing_currency)
            costs[key] = costs.get(key, Spent()).plus(money(item.billed_cost), item.x_unpriced)


def compare(then: Mapping[CostKey, Spent], now: Mapping[CostKey, Spent]) -> list[Pair]:
    """Two sides paired by account, SKU and currency; what only one side has costs 0 on the other."""
    none = Spent()
    pairs = []
    for key in sorted({*then, *now}):
        old, new = then.get(key, none), now.get(key, none)
        pairs.append(Pair(*key, old.cost, new.cost, old.unpriced, new.unpriced))
    return pairs


def grouped(pairs: Iterable[Pair], by: Iterable[str]) -> list[Pair]:
    """Pairs added up by "account", "sku" or both (by currency always); the greatest difference, of either sign, comes first.

    A name that is not grouped by is "" in the rows. Equal differences are in the order of the names.
    """
    names = frozenset(by)
    added: dict[CostKey, Pair] = {}
    with localcontext(EXACT):
        for pair in pairs:
            key = CostKey(pair.account if "account" in names else "", pair.sku if "sku" in names else "", pair.currency)
            known = added.get(key, Pair(*key, ZERO, ZERO))
            added[key] = Pair(
                *key, known.then + pair.then, known.now + pair.now,
                known.unpriced_then + pair.unpriced_then, known.unpriced_now + pair.unpriced_now,
            )  # fmt: skip
    return sorted(added.values(), key=lambda pair: (-abs(pair.difference), pair[:3]))


def totals(pairs: Iterable[Pair]) -> list[Pair]:
    """One row for each currency, by its name."""
    return sorted(grouped(pairs, ()), key=lambda pair: pair.currency)


def percent(pair: Pair, digits: int) -> Decimal | None:
    """The difference in percent of what it was, for display: rounded half to even. None when it was nothing."""
    if not pair.then:
        return None
    # A quotient has no last digit; 50 digits are far more than anybody is shown, and nothing is computed from it.
    rounding = Context(prec=50)
    quotient = rounding.divide(rounding.multiply(pair.difference, _HUNDRED), rounding.abs(pair.then))
    return round_to(quotient, digits, "half_even")
