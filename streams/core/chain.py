"""An account's statements, month after month: what is left of its credits goes from one to the next.

Which months have a statement, and what each begins with, is decided here for everybody who makes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from ...pricing.statement import Statement, Usage, statement
from ...schemas.line_item import RatedLineItem
from .groups import Group
from .items import statement_item
from .segments import Rates

__all__ = ["Chain", "Month", "Row", "Rows", "row_of", "usages_of"]


class Row(NamedTuple):
    """Name of one total: a stretch of one SKU in one unit, within a month."""

    month: int
    sku: str
    unit: str
    price_id: str
    start: int  # seconds


Rows = dict[Row, Usage]


def row_of(month: int, usage: Usage) -> Row:
    """The name of a total in a month."""
    return Row(month, usage.sku, usage.unit, usage.price.id if usage.price else "", usage.start)


def usages_of(group: Group) -> Iterator[Usage]:
    """What a statement sees of a group: the stretches that have a price and were used."""
    for segment in group.segments.values():
        stretch = segment.stretch
        if stretch.price is not None and segment.used:
            slices = tuple([dict(its) for its in segment.quantities()])
            yield Usage(group.key.sku, group.key.unit, stretch.price, stretch.start, stretch.end, slices, True)


class Month(NamedTuple):
    """A month's statement, and what went into it. final: the month is over."""

    month: int
    usage: list[Usage]
    opening: Mapping[str, Decimal]
    final: bool
    made: Statement


class Chain:
    """Statements of an account under one set of rates; each is made again only when something in it changed."""

    def __init__(self, name: str, rates: Rates, rows: Rows, since: int = 0, opening: Mapping[str, Decimal] | None = None) -> None:
        """rates: of the account. since: the month to begin with, 0: the first one used; opening: what was left of credits then."""
        self.name = name
        self.rates = rates
        self.rows = rows
        self._since, self._opening = since, opening or {}
        # Of an account that the price book does not name nobody knows before it uses something: nothing is due of it until then.
        contracts = rates.book.contracts
        at = bisect_left(contracts, name)
        self._named = at < len(contracts) and contracts[at] == name
        self._made: dict[int, Month] = {}

    def touch(self, month: int) -> None:
        """Totals of a month have changed."""
        self._made.pop(month, None)

    def months(self, first: int, last: int, final_through: int) -> Iterator[Month]:
        """Every month that has a statement, in order.

        first, last: months that count even if nothing was used in them or behind them; first: only if the price book names the account.
        """
        terms = self.rates.terms
        if terms is None:
            return
        by_month: dict[int, list[Usage]] = {}
        for row, usage in self.rows.items():
            by_month.setdefault(row.month, []).append(usage)
        named = first or last if self._named else 0
        begins = [*by_month, *([named] if named else [])]
        if not begins:
            return
        its = self.rates.default
        balances = self._opening
        for month in range(self._since or min(begins), max([*begins, last]) + 1):
            start, end, final = its.month_start(month), its.month_start(month + 1), month <= final_through
            used = by_month.get(month, [])
            if not used and not terms.due(start, end):
                continue
            known = self._made.get(month)
            if known is None or known.opening != balances or known.final != final:
                known = self._made[month] = Month(month, used, balances, final, statement(terms, start, end, used, balances, final))
            balances = known.made.closing
            yield known

    def items(self, month: Month) -> dict[str, RatedLineItem]:
        """Charges of a month by line item id."""
        its, names, service_of = self.rates.default, self.rates.names, self.rates.service_of
        start, end = its.month_start(month.month), its.month_start(month.month + 1)
        items = [
            statement_item(names, self.name, service_of(charge.sku, month.month), month.month, start, end, charge) for charge in month.made.charges
        ]
        return {item.x_line_item_id: item for item in items}

    def line_items(self, first: int, last: int, final_through: int) -> dict[int, dict[str, RatedLineItem]]:
        """Charges by month and line item id. Arguments as for `months`."""
        return {month.month: self.items(month) for month in self.months(first, last, final_through)}
