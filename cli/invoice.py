"""`ratemill invoice`: what an account's month comes to, from the line items in Elasticsearch: usage, adjustments, corrections, total."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..pricing.money import ZERO, money, plain, round_to, use_exact_arithmetic
from ..schemas.errors import BadInput
from ..sinks.costs import CostRow, costs
from ..sinks.periods import ClosedPeriods, read_closed
from .elasticsearch_source import Source, reading, source_of
from .rate import printable

__all__ = ["Invoice", "command", "invoice_of"]

_BY = ("corrected", "adjustment", "category", "sku", "unit")
_PERIOD = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_DIGITS = 6  # after the point, in the table; the total has all of them
_SECTIONS = {"usage": "usage", "adjustments": "adjustments", "corrections": "corrections of earlier months"}


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


class _Found(NamedTuple):
    rows: list[CostRow]
    closed: ClosedPeriods


@click.command("invoice")
@click.argument("account", metavar="ACCOUNT")
@click.argument("period", metavar="PERIOD")
@click.option("--elasticsearch", "url", metavar="URL", help="Elasticsearch to ask, instead of the configured one.")
@click.option("--prefix", metavar="NAME", help="Index prefix, instead of the configured one.")
@click.option("--config", "config_path", metavar="FILE", help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Exact amounts as one JSON document.")
def command(account: str, period: str, url: str | None, prefix: str | None, config_path: str | None, as_json: bool) -> None:
    """Preview the invoice of ACCOUNT for the billing month PERIOD (YYYY-MM).

    Usage by SKU, adjustments of the account, corrections of earlier months, and the total: that of `ratemill costs`, to the last
    digit. FINAL once the month is closed, an ESTIMATE before. Each currency has a total of its own.
    """
    if not _PERIOD.fullmatch(period):
        raise BadInput(f"period {period[:40]!r} is not a billing period like 2026-01")
    use_exact_arithmetic()
    found = asyncio.run(_read(source_of(url, prefix, config_path), account, period))
    invoices, status = invoices_of(found.rows), found.closed.status(period)
    closed_at = found.closed.closed_at if period == found.closed.through else ""
    if as_json:
        document = {"account": account, "period": period, "status": status, "closed_at": closed_at, "invoices": invoices}
        click.echo(msgspec.json.encode(document).decode())
        return
    console = Console()
    head = "FINAL" if status == "final" else "ESTIMATE: the month is open"
    console.print(Text(printable(f"Invoice of {account} for {period}"), style="bold"), soft_wrap=True)
    console.print(Text(head + (f", closed at {closed_at}" if closed_at else "")), soft_wrap=True)
    if not invoices:
        console.print("no line items")
    for invoice in invoices:
        _show(invoice, console)


async def _read(source: Source, account: str, period: str) -> _Found:
    async with reading(source) as client:
        # The close first: a month that is closed in between is called an estimate, never the other way round.
        closed = await read_closed(client, source.prefix)
        return _Found(await costs(client, source.prefix, account=account, by=_BY, period=period), closed)


def invoices_of(rows: Iterable[CostRow]) -> list[Invoice]:
    """One invoice per currency, in their order. rows: grouped by corrected, adjustment, category, SKU and unit."""
    by_currency: dict[str, list[CostRow]] = {}
    for row in rows:
        by_currency.setdefault(row.currency, []).append(row)
    return [invoice_of(currency, its) for currency, its in sorted(by_currency.items())]


def invoice_of(currency: str, rows: Sequence[CostRow]) -> Invoice:
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


def _show(invoice: Invoice, console: Console) -> None:
    """One table: names are folded in a narrow terminal, an amount never is."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    rows: list[tuple[str, str, str, str] | None] = []  # None: a rule
    for name, title in _SECTIONS.items():
        part: Part = getattr(invoice, name)
        if not part.lines:
            continue
        rows += [(_name(line), _shown(line.quantity), printable(line.unit), _shown(line.cost)) for line in part.lines]
        rows += [(title, "", "", _shown(part.cost)), None]
    table.add_column("", overflow="fold", min_width=12)
    for at, header in ((1, "quantity"), (2, "unit"), (3, invoice.currency)):
        widest = max(len(header), *(len(row[at]) for row in rows if row)) if at != 2 else 0
        side: Any = "left" if at == 2 else "right"
        table.add_column(header, justify=side, no_wrap=at != 2, overflow="fold", min_width=widest or None)
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*(Text(cell) for cell in row), style="" if row[1] else "bold")
    console.print(table)
    total = f"total: {plain(money(invoice.total))} {invoice.currency}"
    console.print(Text(total, style="bold"), soft_wrap=True)
    if invoice.unpriced:
        console.print(Text(f"{invoice.unpriced:,} of {invoice.line_items:,} line items have no price, and cost nothing yet"), soft_wrap=True)


def _name(line: Line) -> str:
    """SKU, with the adjustment that made the charge, and the month that it corrects."""
    parts = [line.corrected, f"{line.adjustment}:" if line.adjustment and line.adjustment != line.sku else "", line.sku or "-"]
    return printable(" ".join(part for part in parts if part))


def _shown(amount: str) -> str:
    digits = max(2, min(len(amount.partition(".")[2]), _DIGITS))
    return f"{round_to(money(amount), digits, 'half_even'):,f}"
