"""An account's month as an invoice, as `ratemill invoice` and `GET /v1/invoices/preview` show it: usage, adjustments, corrections, total."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec
from elasticsearch import AsyncElasticsearch

from ..pricing.money import ZERO, money, plain
from ..sinks.costs import CostRow, costs
from ..sinks.dimensions import filters_of
from ..sinks.periods import read_closed

__all__ = ["Invoice", "InvoicePreview", "Line", "Part", "read_invoice"]

_BY = ("corrected", "adjustment", "category", "sku", "unit")


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the line items of one SKU in one unit add up to. Quantities and costs are exact plain decimals.

    adjustment: that made the charge. corrected: the closed month `YYYY-MM` that it corrects. unpriced: line items without a price.
    """

    sku: str
    unit: str
    quantity: str
    cost: str
    category: str
    line_items: int
    unpriced: int = 0
    adjustment: str = ""
    corrected: str = ""


class Part(msgspec.Struct, frozen=True):
    """Lines of one kind, and what they come to."""

    lines: list[Line]
    cost: str


class Invoice(msgspec.Struct, frozen=True):
    """What the month comes to in one currency."""

    currency: str
    usage: Part
    adjustments: Part
    corrections: Part
    total: str
    line_items: int
    unpriced: int


class InvoicePreview(msgspec.Struct, frozen=True):
    """An account's billing month `YYYY-MM`; status: final | estimate. closed_at: of the month closed last, RFC 3339; else empty."""

    account: str
    period: str
    status: str
    closed_at: str
    invoices: list[Invoice]


async def read_invoice(client: AsyncElasticsearch, prefix: str, account: str, period: str) -> InvoicePreview:
    """Read from Elasticsearch; one invoice per currency, in their order. Raises BadInput for a period that is none, Unavailable."""
    filters_of(account, period)  # a mistake is told before anything is asked
    closed = await read_closed(client, prefix)  # first: a month that is closed in between is called an estimate, never the other way round
    rows = await costs(client, prefix, account=account, by=_BY, period=period)
    closed_at = closed.closed_at if period == closed.through else ""
    return InvoicePreview(account, period, closed.status(period), closed_at, _invoices_of(rows))


def _invoices_of(rows: Iterable[CostRow]) -> list[Invoice]:
    """One per currency, in their order."""
    by_currency: dict[str, list[CostRow]] = {}
    for row in rows:
        by_currency.setdefault(row.currency, []).append(row)
    return [_invoice_of(currency, its) for currency, its in sorted(by_currency.items())]


def _invoice_of(currency: str, rows: Sequence[CostRow]) -> Invoice:
    """The rows of one currency in three parts; every row is in one of them."""
    parts: dict[str, list[Line]] = {"usage": [], "adjustments": [], "corrections": []}
    for row in rows:
        line = _line(row)
        parts["corrections" if line.corrected else "adjustments" if line.adjustment else "usage"].append(line)
    made = {name: Part(sorted(lines, key=_order), plain(_sum(lines))) for name, lines in parts.items()}
    total = sum((money(part.cost) for part in made.values()), ZERO)
    return Invoice(
        currency, made["usage"], made["adjustments"], made["corrections"], plain(total),
        sum(row.line_items for row in rows), sum(row.unpriced for row in rows),
    )  # fmt: skip


def _line(row: CostRow) -> Line:
    value = {name: text or "" for name, text in row.group.items()}
    return Line(
        value["sku"], value["unit"], row.pricing_quantity or "0", row.billed_cost, value["category"], row.line_items, row.unpriced,
        value["adjustment"], value["corrected"],
    )  # fmt: skip


def _order(line: Line) -> tuple[str, ...]:
    return line.corrected, line.adjustment, line.sku, line.unit, line.category


def _sum(lines: Iterable[Line]) -> Decimal:
    return sum((money(line.cost) for line in lines), ZERO)
