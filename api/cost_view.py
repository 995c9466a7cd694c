"""What costs come to, as `ratemill costs` and `GET /v1/costs` say it: rows, exact totals, and which months can still change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec
from elasticsearch import AsyncElasticsearch

from ..pricing.money import ZERO, money, plain
from ..sinks.cost_cache import CostCache
from ..sinks.costs import CostRow, costs
from ..sinks.dimensions import Where, Within, check_dimensions, filters_of
from ..sinks.periods import ClosedPeriods, read_closed

__all__ = ["CostView", "PeriodTotal", "Total", "period_total", "read_cost_view", "totals_of"]


class Total(msgspec.Struct):
    """All rows of one currency. Amounts are exact plain decimals."""

    currency: str
    billed_cost: str
    effective_cost: str
    line_items: int
    unpriced: int


class PeriodTotal(msgspec.Struct):
    """What one billing month comes to in one currency, and whether that can still change."""

    period: str
    status: str  # final | estimate
    currency: str
    billed_cost: str
    closed_at: str = ""


class CostView(msgspec.Struct):
    """Rows by currency and group, a total for each currency, and the months that they are of."""

    rows: list[CostRow]
    totals: list[Total]
    periods: list[PeriodTotal]


async def read_cost_view(
    client: AsyncElasticsearch, prefix: str, *, account: str | None, by: Sequence[str], period: str | None, where: Where | None = None,
    within: Within = (None, None), most_rows: int = 0, cache: CostCache | None = None,
) -> CostView:  # fmt: skip
    """Read from Elasticsearch what filters_of chooses. most_rows: raise BadInput beyond so many (0: any number). Raises BadInput, Unavailable.

    cache: of a process that asks again and again.
    """
    check_dimensions(by)  # a mistake is told before anything is asked
    filters_of(account, period, where, within)
    read = partial(cache.costs if cache else costs, client, prefix, account=account, period=period, where=where, within=within)
    closed = await read_closed(client, prefix)  # first: a month that is closed in between is called an estimate, never the other way round
    if period is not None:
        rows = await read(by=by, most_rows=most_rows)
        totals = totals_of(rows)
        return CostView(rows, totals, [_of_month(period, total.currency, total.billed_cost, closed) for total in totals])
    rows, months = await asyncio.gather(read(by=by, most_rows=most_rows), read(by=("period",)))
    return CostView(rows, totals_of(rows), [period_total(row, closed) for row in months])


def period_total(row: CostRow, closed: ClosedPeriods) -> PeriodTotal:
    """One billing month, of a row that is grouped by period."""
    return _of_month(row.group["period"] or "", row.currency, row.billed_cost, closed)


def _of_month(month: str, currency: str, billed_cost: str, closed: ClosedPeriods) -> PeriodTotal:
    status = closed.status(month)
    return PeriodTotal(month, status, currency, billed_cost, closed.closed_at if status == "final" else "")


def totals_of(rows: Sequence[CostRow]) -> list[Total]:
    """One exact total for each currency; currencies are never added to each other."""
    totals = []
    for currency in sorted({row.currency for row in rows}):
        own = [row for row in rows if row.currency == currency]
        totals.append(
            Total(
                currency,
                plain(sum((money(row.billed_cost) for row in own), ZERO)),
                plain(sum((money(row.effective_cost) for row in own), ZERO)),
                sum(row.line_items for row in own),
                sum(row.unpriced for row in own),
            )
        )
    return totals
