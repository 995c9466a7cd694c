"""An account's month as an invoice, as `ratemill invoice` and `GET /v1/invoices/preview` show it: usage, adjustments, corrections, total."""

from __future__ import annotations

import msgspec
from elasticsearch import AsyncElasticsearch

from ..invoicing.invoice import Invoice, Line, Part, invoices_of
from ..sinks.costs import CostRow, costs
from ..sinks.dimensions import filters_of
from ..sinks.periods import read_closed

__all__ = ["Invoice", "InvoicePreview", "Line", "Part", "read_invoice"]

_BY = ("corrected", "adjustment", "category", "sku", "unit")


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
    return InvoicePreview(account, period, closed.status(period), closed_at, invoices_of((row.currency, _line(row)) for row in rows))


def _line(row: CostRow) -> Line:
    value = {name: text or "" for name, text in row.group.items()}
    return Line(
        value["sku"], value["unit"], row.pricing_quantity or "0", row.billed_cost, value["category"], row.line_items, row.unpriced,
        value["adjustment"], value["corrected"],
    )  # fmt: skip
