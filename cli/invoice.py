"""`ratemill invoice`: a month's invoices: previewed in a terminal from Elasticsearch, or written to files from the rated topic."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..api.invoice_view import Invoice, InvoicePreview, Part, read_invoice
from ..invoicing.documents import FORMATS, SECTIONS, line_name, shown
from ..pricing.money import money, plain, use_exact_arithmetic
from ..schemas.errors import BadInput
from .elasticsearch_source import Source, reading, source_of
from .invoice_run import Run, write_invoices
from .rate import printable

__all__ = ["command"]


def _formats(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(FORMATS)}")
    return names


@click.command("invoice")
@click.argument("account", metavar="[ACCOUNT", required=False)
@click.argument("period", metavar="PERIOD]", required=False)
@click.option("--period", "month", metavar="PERIOD", help="Write the invoices of this billing month from the rated topic.")
@click.option("--account", "only", metavar="ACCOUNT", help="With --period: of this account alone.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="With --period: the folder, required.")
@click.option("--format", "formats", default=",".join(FORMATS), show_default=True, callback=_formats, help="With --period: which files, by commas.")
@click.option("--estimate", is_flag=True, help="With --period: also accounts whose month is open, as ACCOUNT.estimate.*.")
@click.option(
    "--store", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="With --period: what was read so far (default: .invoicing.sqlite in DIR).",
)
@click.option(
    "--keep-months", "keep", type=click.IntRange(1), metavar="N", help="With --period: then drop line items of final months but the last N up to it."
)
@click.option("--elasticsearch", "url", metavar="URL", help="Preview: Elasticsearch to ask, instead of the configured one.")
@click.option("--prefix", metavar="NAME", help="Preview: index prefix, instead of the configured one.")
@click.option("--config", "config_path", metavar="FILE", help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Preview: exact amounts as one JSON document.")
def command(
    account: str | None, period: str | None, month: str | None, only: str | None, output: Path | None, formats: list[str], estimate: bool,
    store: Path | None, keep: int | None, url: str | None, prefix: str | None, config_path: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Preview the invoice of ACCOUNT for the billing month PERIOD (YYYY-MM), or write those of all accounts to files.

    \b
      ratemill invoice acct-1 2026-10                           in this terminal, from Elasticsearch
      ratemill invoice --period 2026-10 --output invoices       files, from the topic usage.rated

    Both have usage by SKU, adjustments of the account, corrections of earlier months, and the total: that of `ratemill costs`, to the last
    digit. FINAL once the month is closed, an ESTIMATE before. Each currency has a total of its own. Taxes, payments and credit notes
    are for others to add.

    Files: DIR/PERIOD/ACCOUNT.json, .csv and .html (a page to print). The same bytes each time: a run that was interrupted is repeated.
    Only months that are closed are written, see `ratemill close`; exit status 1 when PERIOD is not closed everywhere.
    """
    use_exact_arithmetic()
    if month is not None:
        if account is not None or as_json or url or prefix:
            raise BadInput("--period writes files from the topic; ACCOUNT PERIOD, --json, --elasticsearch and --prefix are of the preview")
        if output is None:
            raise BadInput("say where the invoices go: --output DIR")
        write_invoices(Run(month, only, output, formats, estimate, store, config_path, keep))
        return
    if account is None or period is None or only is not None or output is not None or store is not None or estimate or keep:
        raise BadInput("give ACCOUNT and PERIOD for a preview, or --period PERIOD --output DIR for files; see `ratemill invoice --help`")
    preview = asyncio.run(_read(source_of(url, prefix, config_path), account, period))
    if as_json:
        click.echo(msgspec.json.encode(preview).decode())
        return
    console = Console()
    head = "FINAL" if preview.status == "final" else "ESTIMATE: the month is open"
    console.print(Text(printable(f"Invoice of {account} for {period}"), style="bold"), soft_wrap=True)
    console.print(Text(head + (f", closed at {preview.closed_at}" if preview.closed_at else "")), soft_wrap=True)
    if not preview.invoices:
        console.print("no line items")
    for invoice in preview.invoices:
        _show(invoice, console)


async def _read(source: Source, account: str, period: str) -> InvoicePreview:
    async with reading(source) as client:
        return await read_invoice(client, source.prefix, account, period)


def _show(invoice: Invoice, console: Console) -> None:
    """One table: names are folded in a narrow terminal, an amount never is."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    rows: list[tuple[str, str, str, str] | None] = []  # None: a rule
    for name, title in SECTIONS.items():
        part: Part = getattr(invoice, name)
        if not part.lines:
            continue
        rows += [(printable(line_name(line)), shown(line.quantity), printable(line.unit), shown(line.cost)) for line in part.lines]
        rows += [(title, "", "", shown(part.cost)), None]
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
