"""What a tariff holds beside its prices, in tables that fit the terminal: long names are folded, never cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..metering.meter import Meter
from ..metering.tariff import Tariff
from ..pricing.book import PriceBook
from ..pricing.exchange import EVERY_MONTH
from ..pricing.money import plain
from ..pricing.statement.terms import Commitment, Credit, Fee
from ..schemas.control import month_text
from .counting import counted
from .tariff_json import accounts_of
from .tariff_words import meter_reads, meter_works, step_in_words, term_in_words, type_of

__all__ = ["show_tables"]

ROWS_SHOWN = 200  # a table of more is not read by anybody, and takes long to lay out
ACCOUNTS_SHOWN = 5  # of an adjustment that is for some only

Lines = str | Sequence[str]


def show_tables(tariff: Tariff, console: Console) -> None:
    """Print meters, exchange rates, adjustments and accounts, each if there are any."""
    book = tariff.book
    meters = [((meter.id, *_gives(meter)), meter_reads(meter), meter_works(meter)) for meter in tariff.meters.all]
    _print(console, counted(len(meters), "meter"), ("Meter", "Reads", "How"), meters)
    rates = [
        (f"{plain(rate.rate)} {rate.currency} per {book.currency}", "always" if rate.month == EVERY_MONTH else f"from {month_text(rate.month)}")
        for rate in book.exchange_rates.rates
    ]
    _print(console, counted(len(rates), "exchange rate"), ("Rate", "In effect"), rates)
    steps = [
        (str(position), step.id, type_of(step), step_in_words(step, book.currency), _for(accounts))
        for position, (step, accounts) in enumerate(book.adjustments, 1)
    ]
    _print(console, f"{counted(len(steps), 'adjustment')}, in this order", ("#", "Adjustment", "Type", "What", "For"), steps)
    accounts = [(account, book.currency_of(account), _agreed(account, book)) for account in accounts_of(book)]
    _print(console, f"{counted(len(accounts), 'account')} with terms of their own", ("Account", "Currency", "Terms (UTC)"), accounts)


def _print(console: Console, title: str, columns: Iterable[str], rows: Sequence[Iterable[Lines]]) -> None:
    if not rows:
        return
    table = Table(title=title, title_justify="left", expand=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows[:ROWS_SHOWN]:
        # Text, not str: brackets in a name are no markup.
        table.add_row(*(Text(cell if isinstance(cell, str) else "\n".join(cell)) for cell in row))
    console.print(table)
    if len(rows) > ROWS_SHOWN:
        console.print(f"and {len(rows) - ROWS_SHOWN} more; --json lists all of them")


def _gives(meter: Meter) -> tuple[str, str]:
    return f"gives {meter.sku}", f"in {meter.unit}" if meter.unit else "in the event's unit"


def _for(accounts: Sequence[str]) -> str:
    if not accounts:
        return "all"
    more = len(accounts) - ACCOUNTS_SHOWN
    return ", ".join(accounts[:ACCOUNTS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _agreed(account: str, book: PriceBook) -> list[str]:
    terms, currency = book.terms_of(account), book.currency_of(account)
    held: list[Fee | Commitment | Credit] = [*terms.fees, *terms.commitments, *terms.credits] if terms else []
    lines = [term_in_words(term, currency) for term in held]
    own = [price for price in book.prices if account in price.accounts]
    return [*lines, *(f"price {price.id} of {price.sku}" for price in own)] or ["none: only named"]
