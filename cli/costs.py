"""`ratemill costs`: live totals from Elasticsearch, in a table or as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..api.cost_view import CostView, Total, read_cost_view
from ..pricing.money import money, round_to, use_exact_arithmetic
from ..schemas.errors import Unavailable
from ..sinks.costs import CostRow
from ..sinks.dimensions import DIMENSIONS
from .elasticsearch_source import Source, reading, source_of

__all__ = ["command"]

_SHOWN_DIGITS = 6  # after the point, unless --exact
_WHY_NONE = "(where usage was published: `ratemill top` tells whether workers rate it, `ratemill dead-letters list` what could not count)"
_NAME_WIDTH = 10  # characters that a name column gets before digits after the point are given up


@dataclass(frozen=True, slots=True)
class _Request:
    source: Source
    account: str | None
    by: tuple[str, ...]
    period: str | None


@click.command("costs")
@click.option("--account", metavar="ID", help="Only this account.")
@click.option("--by", default="account,sku", show_default=True, metavar="DIM,…", help=f"Group by: {', '.join(DIMENSIONS)}. Empty: totals only.")
@click.option("--period", metavar="YYYY-MM", help="Only this billing period.")
@click.option("--elasticsearch", "url", metavar="URL", help="Elasticsearch to ask, instead of the configured one.")
@click.option("--prefix", metavar="NAME", help="Index prefix, instead of the configured one.")
@click.option("--config", "config_path", metavar="FILE", help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Exact amounts as one JSON document.")
@click.option("--exact", is_flag=True, help=f"Every digit; otherwise amounts are shown rounded to {_SHOWN_DIGITS} digits after the point.")
@click.option("--watch", is_flag=True, help="Keep the table up to date until interrupted.")
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(min=0.2), metavar="SECONDS", help="Pause of --watch.")
def command(
    account: str | None, by: str, period: str | None, url: str | None, prefix: str | None, config_path: str | None,
    as_json: bool, exact: bool, watch: bool, every: float,
) -> None:  # fmt: skip
    """Show live costs: exact totals of the line items in Elasticsearch, seconds after the usage.

    Costs of line items without a price are zero; the column "unpriced" counts them.
    """
    if watch and as_json:
        raise click.UsageError("--watch shows a table; leave out --json")
    use_exact_arithmetic()
    dimensions = tuple(name.strip() for name in by.split(",") if name.strip())
    request = _Request(source_of(url, prefix, config_path), account, dimensions, period)
    if watch:
        asyncio.run(_watch(request, exact, every))
        return
    found = asyncio.run(_read(request))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        console = Console()
        console.print(_view(found, request, exact, console.width, None))


async def _read(request: _Request) -> CostView:
    async with reading(request.source) as client:
        return await read_cost_view(client, request.source.prefix, account=request.account, by=request.by, period=request.period)


async def _watch(request: _Request, exact: bool, every: float) -> None:
    console = Console()
    found, note = await _read(request), ""  # not there at the start: an error, as without --watch
    with Live(console=console, screen=True, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        while True:
            if live is None:
                console.print(_view(found, request, exact, console.width, None, note))
            else:
                live.update(_view(found, request, exact, console.width, max(console.height - 10, 3), note), refresh=True)
            await asyncio.sleep(every)
            try:
                found, note = await _read(request), ""
            except Unavailable as error:
                note = f"not up to date: {error}"


def _view(found: CostView, request: _Request, exact: bool, width: int, room: int | None, note: str = "") -> Group:
    """The table, largest amounts first, at most `room` groups, with the totals of all of them; `width` in characters.

    Below it each billing month, and whether its total is final or an estimate.
    """
    rows = found.rows
    ranked = sorted(rows, key=lambda row: (row.currency, -money(row.billed_cost)))
    shown = (ranked if room is None else ranked[:room]) if request.by else []
    lines: list[Any] = [Text(f"{_title(request)}: no line items"), Text(_WHY_NONE, style="dim")]
    if rows:
        lines = [_table(shown, found.totals, request, exact, width, len(ranked) - len(shown) if request.by else 0)]
    for month in found.periods:
        final = month.status == "final"
        words = "final" if final else "an estimate: the month is open"
        lines.append(Text(f"{month.period}: {_shown(month.billed_cost, 2)} {month.currency}, {words}", style="" if final else "dim"))
    if note:
        lines.append(Text(note, style="red"))
    return Group(*lines)


def _table(shown: Sequence[CostRow], totals: Sequence[Total], request: _Request, exact: bool, width: int, left_out: int) -> Table:
    every: list[CostRow | Total] = [*shown, *totals]
    names = request.by or ("",)
    for digits, with_effective in _layouts(every, exact):  # the last one is taken if none fits
        columns = _numbers(every, digits, with_effective)
        if sum(max(map(len, (header, *column))) + 3 for header, column in columns.items()) + (_NAME_WIDTH + 3) * len(names) <= width:
            break

    table = Table(title=_title(request), title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="ellipsis", min_width=5)
    for header, column in columns.items():
        # Names are cut in a narrow terminal; an amount never is.
        table.add_column(header, justify="left" if header == "currency" else "right", no_wrap=True, min_width=max(map(len, (header, *column))))
    lines = list(zip(*columns.values(), strict=True))
    for row, cells in zip(shown, lines, strict=False):
        table.add_row(*(Text(_printable(row.group[name])) for name in request.by), *cells)
    if left_out:
        table.add_row(f"+{left_out:,}", style="dim")
    table.add_section()
    for cells in lines[len(shown) :]:
        table.add_row("total", *[""] * (len(names) - 1), *cells, style="bold")
    return table


def _layouts(rows: Sequence[CostRow | Total], exact: bool) -> Iterator[tuple[int, bool]]:
    """(digits after the point, whether to show effective costs) from the most to the least telling."""
    digits = max((len(amount.partition(".")[2]) for row in rows for amount in (row.billed_cost, row.effective_cost)), default=0)
    digits = max(2, digits if exact else min(digits, _SHOWN_DIGITS))
    differs = any(row.effective_cost != row.billed_cost for row in rows)
    for with_effective in (True, False) if differs else (False,):
        yield from ((number, with_effective) for number in range(digits, (digits if exact else 2) - 1, -1))


def _numbers(rows: Sequence[CostRow | Total], digits: int, with_effective: bool) -> dict[str, list[str]]:
    """Column title -> cells."""
    columns = {"currency": [row.currency for row in rows], "billed": [_shown(row.billed_cost, digits) for row in rows]}
    if with_effective:
        columns["effective"] = [_shown(row.effective_cost, digits) for row in rows]
    columns["items"] = [f"{row.line_items:,}" for row in rows]
    if any(row.unpriced for row in rows):
        columns["unpriced"] = [f"{row.unpriced:,}" if row.unpriced else "" for row in rows]
    return columns


def _title(request: _Request) -> str:
    parts = ["Costs", *([f"of {request.account}"] if request.account else []), *([f"in {request.period}"] if request.period else [])]
    return _printable(" ".join(parts))


def _shown(amount: str, digits: int) -> str:
    return f"{round_to(money(amount), digits, 'half_even'):,f}"


def _printable(value: str | None) -> str:
    """A value for the terminal: control characters of foreign data must not reach it."""
    return "-" if value is None else "".join(character if character.isprintable() else "�" for character in value)
