"""`ratemill invoice`: what an account's month comes to, from the line items in Elasticsearch: usage, adjustments, corrections, total."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..api.invoice_view import Invoice, InvoicePreview, Line, Part, read_invoice
from ..pricing.money import money, plain, round_to, use_exact_arithmetic
from .elasticsearch_source import Source, reading, source_of
from .rate import printable

__all__ = ["command"]

_DIGITS = 6  # after the point, in the table; the total has all of them
_SECTIONS = {"usage": "usage", "adjustments": "adjustments", "corrections": "corrections of earlier months"}


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
    use_exact_arithmetic()
    found = asyncio.run(_read(source_of(url, prefix, config_path), account, period))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    console = Console()
    head = "FINAL" if found.status == "final" else "ESTIMATE: the month is open"
    console.print(Text(printable(f"Invoice of {account} for {period}"), style="bold"), soft_wrap=True)
    console.print(Text(head + (f", closed at {found.closed_at}" if found.closed_at else "")), soft_wrap=True)
    if not found.invoices:
        console.print("no line items")
    for invoice in found.invoices:
        _show(invoice, console)


async def _read(source: Source, account: str, period: str) -> InvoicePreview:
    async with reading(source) as client:
        return await read_invoice(client, source.prefix, account, period)


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
