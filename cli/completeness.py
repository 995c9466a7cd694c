"""`ratemill completeness`: whether each source sent usage, had none, or was silent, hour by hour."""

from __future__ import annotations

import time

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..api.sources.store import Sources
from ..api.sources.view import CompletenessView, read_completeness
from ..store.database import open_database
from ..streams.config import load_config
from .corrections import with_config
from .dead_letters import printable

__all__ = ["command"]

_SIGNS = {"ok": "■", "no usage": "·", "silent": "✗", "pending": "…", "not expected": " "}
_STYLES = {"silent": "bold red", "ok": "green"}


@click.command("completeness")
@with_config
@click.option("--from", "since", metavar="TIME", help="First hour, such as 2026-11-27T00:00:00Z (default: a day before --to).")
@click.option("--to", "until", metavar="TIME", help="Hour behind the last one (default: now).")
@click.option("--source", metavar="NAME", help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as GET /v1/completeness.")
def command(path: str | None, since: str | None, until: str | None, source: str | None, as_json: bool) -> None:
    """Tell "no usage" from "collector silent": a table of sources and hours of usage, as `ratemill watch` has counted.

    ok: usage came. no usage: the source lives, and sent none of that hour. silent: it was expected, and nothing came at all. pending: usage of the
    hour may still come.
    """
    config = load_config(path)
    sources = Sources(open_database(config.api.database.get_secret_value()))
    found = read_completeness(sources, config.watch.expected_sources, since, until, source, int(time.time()))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _print(found)


def _print(found: CompletenessView) -> None:
    if found.counted_through is None:
        click.echo("nothing is counted yet: does `ratemill watch` run?")
    if not found.sources:
        click.echo("no source was expected")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("Source", "Hours", "Silent", "Events"):
        table.add_column(title, overflow="fold", justify="right" if title == "Events" else "left")
    for row in found.sources:
        hours, silent = Text(), [each.hour[5:13].replace("T", " ") + "h" for each in row.hours if each.state == "silent"]
        for each in row.hours:
            hours.append(_SIGNS[each.state], _STYLES.get(each.state, ""))
        shown = ", ".join(silent[-3:]) + (f" and {len(silent) - 3} before" if len(silent) > 3 else "")
        table.add_row(Text(printable(row.source)), hours, Text(shown), f"{sum(each.events for each in row.hours):,}")
    console = Console()
    console.print(table)
    first, last = found.sources[0].hours[0].hour, found.sources[0].hours[-1].hour
    console.print(Text(f"{first} to {last}, an hour each: {', '.join(f'{sign} {state}' for state, sign in _SIGNS.items() if sign.strip())}", "dim"))
    if found.counted_through is not None:
        console.print(Text(f"counted through {found.counted_through}", "dim"))
