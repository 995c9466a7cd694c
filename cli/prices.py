"""`ratemill prices`: look at a price book before it takes effect. What needs Kafka is in modules of its own (`ELSEWHERE`)."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..metering.alignment import late_cuts, misaligned
from ..metering.tariff import Tariff, parse_tariff
from ..pricing.book import PriceBook
from ..pricing.book_yaml import MAX_BOOK_BYTES
from ..pricing.exchange import EVERY_MONTH, UTC_MONTHS, ExchangeRate
from ..pricing.models import tier_name
from ..pricing.money import plain
from ..pricing.price import SINCE_ALWAYS, Price
from ..pricing.selection import DAYS, clock_text
from ..schemas.errors import BadInput, BadPriceBook
from ..schemas.times import format_time
from .price_words import amounts_in_words
from .prices_places import placed, texts_of
from .tariff_json import tariff_as_json
from .tariff_tables import show_tables

__all__ = ["command", "in_words", "mistakes_told", "read_book", "read_tariff"]

ACCOUNTS_SHOWN = 5  # of a price that is for some only
ROWS_SHOWN = 200  # a table of more is not read by anybody, and takes long to lay out
WARNINGS_SHOWN = 20
WINDOW_S = 3_600  # windows of usage without a meter, as a worker has them by default


# Commands that need Kafka, which is slow to import: name -> module of this folder with a command of that name.
ELSEWHERE = {
    "diff": "prices_diff", "shadow": "prices_shadow", "variance": "prices_shadow", "publish": "prices_publish", "history": "prices_history",
}  # fmt: skip


class _Group(click.Group):
    """The commands of this module, and those that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(importlib.import_module(f".{ELSEWHERE[cmd_name]}", __package__), cmd_name)
        return found


@click.group(cls=_Group)
def command() -> None:
    """Check price books, rehearse changes of them, and publish them."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--meters", type=click.Path(path_type=Path), metavar="FILE", help="Meters in YAML, if they do not stand in the price book.")
@click.option("--json", "as_json", is_flag=True, help="Print the book, or its mistakes, as JSON.")
def check(file: Path, meters: Path | None, as_json: bool) -> None:
    """Read the price book FILE and show all that it holds, or every mistake as `file:line: what; what to do`.

    Exit status 0: it can be published. 2: it has mistakes, or cannot be read. Warnings are about what takes effect later than it says.
    """
    with mistakes_told(as_json):
        tariff = read_tariff(file, meters)
    warnings = placed([*misaligned(tariff, WINDOW_S), *late_cuts(tariff, WINDOW_S)], texts_of(file, meters))
    if as_json:
        click.echo(json.dumps({**book_as_json(tariff.book), **tariff_as_json(tariff), "warnings": warnings}, ensure_ascii=False, indent=2))
        return
    console = Console()
    show(tariff, console)
    show_tables(tariff, console)
    for warning in warnings[:WARNINGS_SHOWN]:
        console.print(f"warning: {warning}", soft_wrap=True, highlight=False, markup=False)
    if len(warnings) > WARNINGS_SHOWN:
        console.print(f"and {len(warnings) - WARNINGS_SHOWN} more warnings; --json lists all of them")


@contextmanager
def mistakes_told(as_json: bool = False) -> Iterator[None]:
    """The mistakes of a book that is read in here go to stderr, one per line, and end the command with status 2."""
    try:
        yield
    except BadPriceBook as error:
        for mistake in error.mistakes:
            click.echo(mistake, err=True)
        if as_json:
            click.echo(json.dumps({"valid": False, "mistakes": error.mistakes}, ensure_ascii=False, indent=2))
        sys.exit(error.exit_status)


def read_tariff(file: Path, meters: Path | None = None) -> Tariff:
    """The price book of a file with its meters, which may stand in a second file.

    Raises BadInput when a file cannot be read, BadPriceBook when they have mistakes.
    """
    text = _read(file, "price book")
    return parse_tariff(text, str(file)) if meters is None else parse_tariff(text, str(file), _read(meters, "file of meters"), str(meters))


def read_book(file: Path) -> PriceBook:
    """The price book of a file. Raises as `read_tariff`."""
    return read_tariff(file).book


def _read(file: Path, what: str) -> bytes:
    try:
        with file.open("rb") as opened:
            # One byte more than allowed is enough for the parser to refuse the file.
            return opened.read(MAX_BOOK_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{file}: {(error.strerror or 'cannot be read').lower()}; give the path of a {what} in YAML") from error


def show(tariff: Tariff, console: Console) -> None:
    """Print the prices as a table that fits the terminal: long names are folded, never cut."""
    book = tariff.book
    table = Table(title=f"{len(book.prices)} prices in {book.currency}, digest {tariff.digest[:12]}", title_justify="left", expand=False)
    table.add_column("SKU", overflow="fold")
    table.add_column("Unit", overflow="fold")
    table.add_column("Model", overflow="fold")
    table.add_column("In effect (UTC)", overflow="fold")
    table.add_column("Price", overflow="fold")
    for price in book.prices[:ROWS_SHOWN]:
        # Text, not str: brackets in a name are no markup.
        table.add_row(*(Text(cell) for cell in (price.sku, price.unit, price.model, in_effect(price), in_words(price))))
    console.print(table)
    if len(book.prices) > ROWS_SHOWN:
        console.print(f"and {len(book.prices) - ROWS_SHOWN} more; --json lists all of them")


def in_words(price: Price) -> str:
    """A price, line by line: its amounts, its limits, and whom it is for."""
    lines = amounts_in_words(price)
    if not price.by_window and price.free_quantity:
        lines.append(f"after {plain(price.free_quantity)} free")
    if price.minimum is not None:
        lines.append(f"minimum {plain(price.minimum)}" + (" at period end" if price.minimum_at_close else ""))
    if price.maximum is not None:
        lines.append(f"maximum {plain(price.maximum)}")
    if price.rounding is not None:
        lines.append(f"rounded to {price.rounding.digits} digits ({price.rounding.mode}, {price.rounding.scope})")
    if price.accumulate != "month":
        lines.append(f"counted per {price.accumulate}")
    if price.accounts:
        others = len(price.accounts) - ACCOUNTS_SHOWN
        lines.append(f"for {', '.join(price.accounts[:ACCOUNTS_SHOWN])}" + (f" and {others} more accounts" if others > 0 else ""))
    return "\n".join(lines)


def in_effect(price: Price) -> str:
    """From when to when a price applies, in UTC; midnight is written as the day alone."""
    since = "always" if price.effective_from == SINCE_ALWAYS else f"from {format_time(price.effective_from).removesuffix('T00:00:00Z')}"
    return since if price.effective_to is None else f"{since}\nto {format_time(price.effective_to).removesuffix('T00:00:00Z')}"


def book_as_json(book: PriceBook) -> dict[str, Any]:
    """A valid book as JSON: numbers as decimal strings, tiers with their cumulative bounds and SKU price ids."""
    return {
        "valid": True,
        "currency": book.currency,
        "provider_name": book.provider_name,
        "publisher_name": book.publisher_name,
        "invoice_issuer_name": book.invoice_issuer_name,
        "digest": book.digest,
        "exchange_rates": [rate_as_json(rate) for rate in book.exchange_rates.rates],
        "prices": [price_as_json(price) for price in book.prices],
    }


def rate_as_json(rate: ExchangeRate) -> dict[str, Any]:
    """One exchange rate as JSON; effective_from is null where it names none."""
    since = None if rate.month == EVERY_MONTH else format_time(UTC_MONTHS.month_start(rate.month) * 1_000_000_000)
    return {"currency": rate.currency, "rate": plain(rate.rate), "effective_from": since}


def price_as_json(price: Price) -> dict[str, Any]:
    """One price as JSON; fields without a value are null."""
    shown = {key: plain(value) if isinstance(value, Decimal) else value for key, value in price._asdict().items()}
    shown["effective_from"] = None if price.effective_from == SINCE_ALWAYS else format_time(price.effective_from)
    shown["effective_to"] = None if price.effective_to is None else format_time(price.effective_to)
    shown["rounding"] = price.rounding._asdict() if price.rounding else None
    shown["matrix"] = None if price.matrix is None else {"dimensions": price.matrix.dimensions}
    shown["schedule"] = None if price.schedule is None else {"timezone": price.schedule.timezone}
    shown["tiers"] = [
        {
            "name": tier_name(price, index),
            "up_to": None if tier.upper is None else plain(tier.upper),
            "unit_price": plain(tier.unit_price),
            "flat_price": plain(tier.flat_price),
            "sku_price_id": tier.sku_price_id,
        }
        | selection_as_json(price, index)
        for index, tier in enumerate(price.tiers)
    ]
    return shown


def selection_as_json(price: Price, index: int) -> dict[str, Any]:
    """What selects a tier, where prices are selected: the values it matches, or its days and hours."""
    if price.matrix is not None:
        return {"match": dict(zip(price.matrix.dimensions, price.matrix.matches[index], strict=True))}
    if price.schedule is not None and index < len(price.schedule.bands):
        band = price.schedule.bands[index]
        return {"days": [DAYS[day] for day in band.days], "from": clock_text(band.since), "to": clock_text(band.until)}
    return {}
