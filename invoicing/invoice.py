"""Line items of an account's month as an invoice: usage, adjustments, corrections, total. Pure.

The preview from Elasticsearch (api/invoice_view.py) and the invoice from the topic are made by the same code, from the same lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, localcontext

import msgspec

from ..pricing.money import EXACT, ZERO, money, plain
from ..schemas.line_item import RatedLineItem

__all__ = ["LEFT_OUT", "AccountInvoice", "Invoice", "Line", "Part", "account_invoice", "invoices_of", "lines_of"]

# What an invoice of ours never holds; each document says so.
LEFT_OUT = ("taxes", "payments", "credit notes")


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


class AccountInvoice(msgspec.Struct, frozen=True):
    """An account's billing month `YYYY-MM`.

    status: final | estimate. version: the revision at which the account's partition closed the month; of an estimate, the highest
    revision in it. closed_at: when that was, RFC 3339, else empty. issuer, account_name: as the line items say, several joined by commas.
    """

    account: str
    period: str
    status: str
    version: int
    closed_at: str
    account_name: str
    issuer: str
    invoices: list[Invoice]
    not_included: tuple[str, ...] = LEFT_OUT


def account_invoice(account: str, period: str, items: Sequence[RatedLineItem], version: int = 0, closed_at: str = "") -> AccountInvoice:
    """The invoice of line items that are one account's in one month, each in its highest revision. version, closed_at: of a final one."""
    items = [item for item in items if not item.x_withdrawn]
    return AccountInvoice(
        account, period, "final" if version else "estimate", version or max((item.x_revision for item in items), default=0), closed_at,
        _names(item.billing_account_name for item in items), _names(item.invoice_issuer_name for item in items), invoices_of(lines_of(items)),
    )  # fmt: skip


def _names(names: Iterable[str | None]) -> str:
    return ", ".join(sorted({name for name in names if name}))


def lines_of(items: Iterable[RatedLineItem]) -> Iterator[tuple[str, Line]]:
    """(currency, line) for each SKU, unit, category, adjustment and corrected month that line items name."""
    groups: dict[tuple[str, ...], list[RatedLineItem]] = {}
    for item in items:
        key = (
            item.billing_currency, item.sku_id, item.pricing_unit or "", item.charge_category, item.x_adjustment, item.x_corrected_period
        )  # fmt: skip
        groups.setdefault(key, []).append(item)
    with localcontext(EXACT):
        for (currency, sku, unit, category, adjustment, corrected), its in groups.items():
            quantity = sum((money(item.pricing_quantity or "0") for item in its), ZERO)
            cost = sum((money(item.billed_cost) for item in its), ZERO)
            unpriced = sum(item.x_unpriced for item in its)
            yield currency, Line(sku, unit, plain(quantity), plain(cost), category, len(its), unpriced, adjustment, corrected)


def invoices_of(lines: Iterable[tuple[str, Line]]) -> list[Invoice]:
    """One invoice for each currency, in their order."""
    by_currency: dict[str, list[Line]] = {}
    for currency, line in lines:
        by_currency.setdefault(currency, []).append(line)
    with localcontext(EXACT):
        return [_invoice_of(currency, its) for currency, its in sorted(by_currency.items())]


def _invoice_of(currency: str, lines: Sequence[Line]) -> Invoice:
    """The lines of one currency in three parts; every line is in one of them."""
    parts: dict[str, list[Line]] = {"usage": [], "adjustments": [], "corrections": []}
    for line in lines:
        parts["corrections" if line.corrected else "adjustments" if line.adjustment else "usage"].append(line)
    made = {name: Part(sorted(its, key=_order), plain(_sum(its))) for name, its in parts.items()}
    return Invoice(
        currency, made["usage"], made["adjustments"], made["corrections"], plain(_sum(lines)),
        sum(line.line_items for line in lines), sum(line.unpriced for line in lines),
    )  # fmt: skip


def _order(line: Line) -> tuple[str, ...]:
    return line.corrected, line.adjustment, line.sku, line.unit, line.category


def _sum(lines: Iterable[Line]) -> Decimal:
    return sum((money(line.cost) for line in lines), ZERO)
