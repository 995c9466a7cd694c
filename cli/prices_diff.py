"""`ratemill prices diff`: what a change of prices does, in money, to usage that really happened."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console

from ..metering.meter import Meters
from ..metering.tariff import Tariff
from ..pricing.book import PriceBook
from ..pricing.exchange import UTC_MONTHS
from ..pricing.money import use_exact_arithmetic
from ..schemas.control import month_number, month_text
from ..schemas.decoders.registry import FORMATS
from ..schemas.errors import Rejection
from ..schemas.times import format_time, parse_time
from ..streams.config import Config, load_config
from ..streams.core.comparison import Pair, compare
from .prices import mistakes_told
from .prices_changes import Change, as_json, changes
from .prices_rating import carry_credits, costs_of, rates_of, wanted_month
from .prices_sources import Source, file_source, live_source
from .prices_table import grouping, print_pairs, report_as_json
from .prices_usage import Usage, Wanted, file_usage, live_usage, progress_bar, require_some
from .rate import printable

__all__ = ["change_lines", "diff", "month_option", "print_changes", "this_month"]

_TOP = 30  # rows of the table
_MANY = 100_000  # windows from which a progress bar is worth it


def this_month() -> int:
    """The month that it is now, in UTC."""
    return UTC_MONTHS.month_of(int(datetime.now(UTC).timestamp()))


def month_option(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """The value of --period as a month number."""
    try:
        return None if value is None else month_number(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _time_option(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else parse_time(value if "T" in value.upper() else f"{value}T00:00:00Z")
    except Rejection as error:
        raise click.BadParameter(f"{value!r} is no time; write it like 2027-01-01 or 2027-01-01T00:00:00Z") from error


class _Asked(NamedTuple):
    """What is compared."""

    config: Config | None  # None: nothing live is needed
    events: tuple[str, ...]
    format: str
    window_s: int
    month: int
    at_ns: int | None
    meters: Meters | None  # by which the usage was metered; None: those of the books


@click.command()
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.option("--meters", type=click.Path(path_type=Path), metavar="FILE", help="Meters of NEW in YAML, if they do not stand in it.")
@click.option("--against", "old", type=click.Path(path_type=Path), metavar="OLD", help="Compare with this file instead of the live book.")
@click.option("--period", "month", callback=month_option, metavar="YYYY-MM", help="Month of the usage.  [default: last month]")
@click.option("--at", "at_ns", callback=_time_option, metavar="TIME", help="Rate all of it by the prices in force at this time, in both books.")
@click.option("--events", multiple=True, metavar="FILE", help="Usage from a file, as `ratemill rate` reads it, instead of the live usage.")
@click.option("--format", "format", type=click.Choice(sorted(FORMATS)), default="cloudevents", show_default=True, help="Format of the events.")
@click.option("--window", "window_s", type=click.IntRange(1), default=3_600, show_default=True, help="With --events: length of a window in seconds.")
@click.option("--by", default="account", callback=grouping, show_default=True, metavar="DIM,…", help="Rows of the table: account, sku, or both.")
@click.option("--top", type=click.IntRange(0), default=_TOP, show_default=True, help="Rows that are shown.")
@click.option("--json", "json_wanted", is_flag=True, help="Exact amounts and all rows as one JSON document.")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
def diff(
    new: Path, meters: Path | None, old: Path | None, month: int | None, at_ns: int | None, events: tuple[str, ...], format: str,
    window_s: int, by: tuple[str, ...], top: int, json_wanted: bool, path: str | None,
) -> None:  # fmt: skip
    """Say what the price book NEW changes: price by price, and in money for the usage of a month.

    The usage is that of the running workers (every window, exact), or of files of events. Both books rate it by definition, line
    item by line item; a month that is over with what is due at its end. Nothing is published.

    Prices count from when they are in force. Where NEW only changes what comes later, `--at` tells what the month would have
    cost by then.
    """
    if events and 3_600 % window_s:
        raise click.UsageError(f"--window {window_s}: windows must divide an hour, such as 60, 300, 900 or 3600")
    use_exact_arithmetic()
    config = None if old is not None and events else load_config(path)
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what it would print is in the error
    with mistakes_told(json_wanted):
        after = file_source(new, meters)
        before = file_source(old) if old is not None else live_source(_given(config))
        # Live usage was metered by the live meters, whatever else the books say.
        meters_of = None if events else before if old is None else live_source(_given(config), or_else=before)
    length = window_s if events else _given(config).rating.window_s
    metered = None if meters_of is None else meters_of.tariff.meters
    asked = _Asked(config, events, format, length, this_month() - 1 if month is None else month, at_ns, metered)
    usage, pairs = _compared(asked, before, after)
    found = changes(before, after)
    if json_wanted:
        click.echo(json.dumps(_document(asked, before, after, found, usage, pairs, by), ensure_ascii=False, indent=2))
        return
    console = Console()
    print_changes(console, before, after, found)
    said = f"usage of {month_text(asked.month)}: {usage.windows:,} windows of {len({p.account for p in pairs}):,} accounts, from {usage.source}"
    held = "" if at_ns is None else f"; prices in force at {format_time(at_ns)}"
    console.print("\n" + printable(said + held), soft_wrap=True, highlight=False, markup=False)
    print_pairs(console, pairs, by, ("then", "now"), top)
    _print_warnings(console, asked, before.book, after.book, pairs)


def _document(
    asked: _Asked, before: Source, after: Source, found: list[Change], usage: Usage, pairs: list[Pair], by: tuple[str, ...]
) -> dict[str, object]:
    return {
        "old": {"name": before.label, "digest": before.tariff.digest},
        "new": {"name": after.label, "digest": after.tariff.digest},
        "changes": [as_json(change) for change in found],
        "period": month_text(asked.month),
        "prices_at": None if asked.at_ns is None else format_time(asked.at_ns),
        "windows": usage.windows,
        "usage": usage.source,
        **report_as_json(pairs, by),
    }


def _given(config: Config | None) -> Config:
    if config is None:
        raise RuntimeError("no configuration was read, and it is needed")
    return config


# -- rating ----------------------------------------------------------------------------------------------------------


def _compared(asked: _Asked, before: Source, after: Source) -> tuple[Usage, list[Pair]]:
    """The usage, and what it costs under both books. Raises BadInput when there is none."""
    month, wanted = asked.month, wanted_month(asked.month, before.book)
    # A month that is over has what is due at its end.
    closing = month if month < this_month() else 0
    own = asked.events and before.tariff.meters.digest != after.tariff.meters.digest
    old = rates_of(before.tariff, asked.window_s, asked.meters, asked.at_ns)
    new = rates_of(after.tariff, asked.window_s, asked.meters, asked.at_ns)
    with _usage(asked, before.tariff, wanted) as usage, progress_bar("rating by both books", 2 * usage.windows, _MANY) as told:
        require_some(usage, month)
        carry_credits(usage, old, month)
        then = costs_of(usage.store, old, closing, told)
        if not own:
            return usage, compare(then, costs_of(usage.store, new, closing, told))
        with _usage(asked, after.tariff, wanted) as metered:
            carry_credits(metered._replace(before=usage.before), old, month)
            return usage, compare(then, costs_of(metered.store, new, closing, told))


def _usage(asked: _Asked, tariff: Tariff, wanted: Wanted) -> AbstractContextManager[Usage]:
    if asked.events:
        return file_usage(asked.events, asked.format, tariff, asked.window_s, wanted)
    return live_usage(_given(asked.config), wanted)


# -- output ----------------------------------------------------------------------------------------------------------


def print_changes(console: Console, old: Source, new: Source, found: list[Change]) -> None:
    """The definitions that differ, one block each."""
    lines = [f"from  {old.label}, digest {old.tariff.digest[:12]}", f"to    {new.label}, digest {new.tariff.digest[:12]}", ""]
    lines += change_lines(found) or ["no definition is different"]
    for line in lines:
        console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def change_lines(found: list[Change]) -> list[str]:
    """Changes in words."""
    lines = []
    for change in found:
        about = f" ({change.about})" if change.about else ""
        lines.append(f"{change.kind:<8}  {change.where}: {change.what}{about}")
        lines += [f"          {detail}" for detail in change.details]
    return lines


def _print_warnings(console: Console, asked: _Asked, old: PriceBook, new: PriceBook, pairs: list[Pair]) -> None:
    """What the table alone could let somebody overlook."""
    month, end_ns = month_text(asked.month), UTC_MONTHS.month_start(asked.month + 1) * 10**9
    known = {price.id for price in old.prices}
    later = [price for price in new.prices if price.id not in known and price.effective_from >= end_ns] if asked.at_ns is None else []
    for price in later:
        begins = format_time(price.effective_from)
        day = begins.removesuffix("T00:00:00Z")
        what = f"price {price.id} begins {begins}, after {month}: it makes no difference to this usage; --at {day} shows it"
        console.print(printable(f"note: {what}"), soft_wrap=True, highlight=False, markup=False)
    lost = sorted({pair.sku for pair in pairs if pair.unpriced_now > pair.unpriced_then})
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        what = f"without a price in the new book: usage of {', '.join(lost[:5])}{more}; its line items would be marked unpriced, at cost 0"
        console.print(printable(f"warning: {what}"), soft_wrap=True, highlight=False, markup=False, style="yellow")
