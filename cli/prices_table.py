"""Two books side by side in a table: the same for `prices diff` and `prices variance`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..pricing.money import plain, round_to
from ..streams.core.comparison import Pair, grouped, percent, totals
from .rate import printable

__all__ = ["GROUPINGS", "grouping", "pair_as_json", "print_pairs", "report_as_json"]

GROUPINGS = ("account", "sku")
DIGITS = 6  # after the point, in tables
PERCENT_DIGITS = 2
NAME_WIDTH = 8  # characters that a name gets before digits after the point are given up
ROUNDED = "amounts are exact decimals, shown rounded to {} digits after the point (half to even); --json has every digit"


def grouping(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """The value of --by: names of GROUPINGS, separated by commas."""
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names or any(name not in GROUPINGS for name in names) or len(set(names)) < len(names):
        raise click.BadParameter(f"{value!r}: group by {' or '.join(GROUPINGS)}, or by both as `{','.join(GROUPINGS)}`")
    return names


def pair_as_json(pair: Pair, by: Iterable[str]) -> dict[str, Any]:
    """A row with exact amounts; percent is rounded, null where there was nothing before."""
    share = percent(pair, PERCENT_DIGITS)
    return {
        **{name: getattr(pair, name) for name in by},
        "currency": pair.currency,
        "then": plain(pair.then),
        "now": plain(pair.now),
        "difference": plain(pair.difference),
        "percent": None if share is None else plain(share),
        "unpriced_then": pair.unpriced_then,
        "unpriced_now": pair.unpriced_now,
    }


def report_as_json(pairs: Sequence[Pair], by: Sequence[str]) -> dict[str, Any]:
    """Rows and totals of a comparison."""
    return {"rows": [pair_as_json(pair, by) for pair in grouped(pairs, by)], "totals": [pair_as_json(pair, ()) for pair in totals(pairs)]}


def print_pairs(console: Console, pairs: Sequence[Pair], by: Sequence[str], columns: tuple[str, str], top: int) -> None:
    """The rows that differ, the greatest difference first, at most `top` of them; then the totals of all rows.

    columns: what the two sides are called. Rows without a difference are counted, not shown.
    """
    rows = grouped(pairs, by)
    differ = [row for row in rows if row.difference or row.unpriced_then != row.unpriced_now]
    shown, sums = differ[:top], totals(pairs)
    unpriced = any(row.unpriced_then or row.unpriced_now for row in [*shown, *sums])
    headers = ["currency", *columns, "difference", "%", *(("unpriced",) if unpriced else ())]
    for digits in range(_digits([*shown, *sums]), 1, -1):
        lines = [_cells(row, digits, unpriced) for row in shown]
        last = [_cells(row, digits, unpriced) for row in sums]
        widths = [max(len(cells[at]) for cells in [headers, *lines, *last]) for at in range(len(headers))]
        if sum(widths) + 3 * len(widths) + (NAME_WIDTH + 3) * len(by) <= console.width:
            break
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in by:
        table.add_column(name, overflow="ellipsis", min_width=5)
    for at, (header, width) in enumerate(zip(headers, widths, strict=True)):
        # Names are cut in a narrow terminal; an amount never is.
        table.add_column(header, justify="right" if at else "left", no_wrap=True, min_width=width)
    for row, cells in zip(shown, lines, strict=True):
        table.add_row(*(Text(printable(getattr(row, name)), no_wrap=True, overflow="ellipsis") for name in by), *cells)
    for text in _left_out(len(differ) - len(shown), len(rows) - len(differ)):
        table.add_row(text, style="dim")
    table.add_section()
    for cells in last:
        table.add_row("total", *[""] * (len(by) - 1), *cells, style="bold")
    console.print(table)
    console.print(ROUNDED.format(digits), soft_wrap=True, highlight=False)


def _left_out(more: int, alike: int) -> list[str]:
    return [text for number, text in ((more, f"+{more:,} more"), (alike, f"+{alike:,} alike")) if number]


def _digits(rows: Iterable[Pair]) -> int:
    found = (len(plain(amount).partition(".")[2]) for row in rows for amount in (row.then, row.now, row.difference))
    return max(2, min(DIGITS, max(found, default=0)))


def _cells(row: Pair, digits: int, unpriced: bool) -> list[str]:
    share = percent(row, PERCENT_DIGITS)
    said = "" if not row.difference else "new" if share is None else f"{share:+,f}"
    amounts = [f"{round_to(amount, digits, 'half_even'):,f}" for amount in (row.then, row.now)]
    difference = f"{round_to(row.difference, digits, 'half_even'):+,f}" if row.difference else "0"
    counts = [_count(row.unpriced_then, row.unpriced_now)] if unpriced else []
    return [row.currency, *amounts, difference, said, *counts]


def _count(then: int, now: int) -> str:
    """Line items without a price: one number where both sides have as many."""
    if then == now:
        return f"{now:,}" if now else ""
    return f"{then:,} → {now:,}"
