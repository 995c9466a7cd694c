"""`ratemill prices diff`: what a change of prices does, in money, to usage that really happened."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..pricing.book import PriceBook
from ..pricing.money import use_exact_arithmetic
from ..schemas.control import month_number, month_text
from ..schemas.decoders.registry import FORMATS
from ..schemas.errors import BadInput
from ..schemas.line_item import RatedLineItem
from ..streams.config import Config, load_config
from ..streams.core.comparison import CostKey, Pair, Spent, compare, spend
from ..streams.core.periods import month_start
from ..streams.core.segments import Rates
from ..streams.core.store import Store
from ..streams.core.sweep import definition
from ..streams.prices_topic import Published, read_published
from ..streams.topics import Topics
from .prices import mistakes_told, read_book, time_text
from .prices_changes import Change, Source, as_json, changes
from .prices_table import grouping, print_pairs, report_as_json
from .prices_usage import Usage, file_usage, live_usage, require_some
from .rate import printable

__all__ = ["diff", "file_source", "live_source", "pairs_of", "period_of", "print_changes"]

_TOP = 30  # rows of the table
_MANY = 100_000  # windows from which a progress bar is worth it


def period_of(context: click.Context, parameter: click.Parameter, value: str | None) -> int:
    """The value of --period as a month number; without one the last month that is over, in UTC."""
    if value is None:
        now = datetime.now(UTC)
        return now.year * 12 + now.month - 2
    try:
        return month_number(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.option("--against", "old", type=click.Path(path_type=Path), metavar="OLD", help="Compare with this file instead of the live book.")
@click.option("--period", "month", callback=period_of, metavar="YYYY-MM", help="Month of the usage.  [default: last month]")
@click.option("--events", multiple=True, metavar="FILE", help="Usage from a file, as `ratemill rate` reads it, instead of the live usage.")
@click.option("--format", "format", type=click.Choice(sorted(FORMATS)), default="cloudevents", show_default=True, help="Format of the events.")
@click.option("--window", "window_s", type=click.IntRange(1), default=3_600, show_default=True, help="With --events: length of a window in seconds.")
@click.option("--by", default="account", callback=grouping, show_default=True, metavar="DIM,…", help="Rows of the table: account, sku, or both.")
@click.option("--top", type=click.IntRange(0), default=_TOP, show_default=True, help="Rows that are shown.")
@click.option("--json", "json_wanted", is_flag=True, help="Exact amounts and all rows as one JSON document.")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
def diff(
    new: Path, old: Path | None, month: int, events: tuple[str, ...], format: str, window_s: int, by: tuple[str, ...], top: int,
    json_wanted: bool, path: str | None,
) -> None:  # fmt: skip
    """Say what the price book NEW changes: price by price, and in money for the usage of a month.

    The usage is that of the running workers (every window, exact), or of files of events. Both books rate it by definition, line
    item by line item. Nothing is published.
    """
    if events and 3_600 % window_s:
        raise click.UsageError(f"--window {window_s}: windows must divide an hour, such as 60, 300, 900 or 3600")
    use_exact_arithmetic()
    config = None if old is not None and events else load_config(path)
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what it would print is in the error
    with mistakes_told(json_wanted):
        after = file_source(new)
        before = file_source(old) if old is not None else live_source(_given(config))
    with _usage(config, events, format, before.book, window_s, month) as usage:
        require_some(usage, month)
        length = window_s if events else _given(config).rating.window_s
        pairs = pairs_of(usage.store, before.book, after.book, length, usage.windows)
    found = changes(before, after)
    if json_wanted:
        document = {
            "old": {"name": before.label, "digest": before.book.digest},
            "new": {"name": after.label, "digest": after.book.digest},
            "changes": [as_json(change) for change in found],
            "period": month_text(month),
            "windows": usage.windows,
            "usage": usage.source,
            **report_as_json(pairs, by),
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    console = Console()
    print_changes(console, before, after, found)
    said = f"usage of {month_text(month)}: {usage.windows:,} windows of {len({p.account for p in pairs}):,} accounts, from {usage.source}"
    console.print("\n" + printable(said), soft_wrap=True, highlight=False, markup=False)
    print_pairs(console, pairs, by, ("then", "now"), top)
    _print_warnings(console, before.book, after.book, month, pairs)


def _given(config: Config | None) -> Config:
    if config is None:
        raise RuntimeError("no configuration was read, and it is needed")
    return config


def file_source(file: Path) -> Source:
    """The book of a file. Raises BadInput, BadPriceBook."""
    book = read_book(file)
    return Source(book, file.read_text(encoding="utf-8-sig"), str(file), str(file))


def live_source(config: Config) -> Source:
    """The book in force. Raises Unavailable, and BadInput when none was ever published."""
    return source_of(last_live(asyncio.run(read_published(config))), Topics.of(config.kafka).prices)


def last_live(published: list[Published]) -> Published | None:
    """The record that put the present book in force; None when none did."""
    return next((found for found in reversed(published) if not found.record.draft), None)


def source_of(found: Published | None, topic: str) -> Source:
    """A published book as a side of a comparison."""
    if found is None or found.book is None:
        raise BadInput(f"{topic}: no price book is published; name the book to compare with by --against FILE")
    record = found.record
    label = f"the live book ({record.name}, published {time_text(record.published_at_ns // 10**9 * 10**9)} by {record.author}: {record.reason})"
    return Source(found.book, record.text, record.name, label)


def _usage(
    config: Config | None, events: tuple[str, ...], format: str, book: PriceBook, window_s: int, month: int
) -> AbstractContextManager[Usage]:
    if events:
        return file_usage(events, format, book, window_s, month)
    return live_usage(_given(config), month)


def pairs_of(store: Store, old: PriceBook, new: PriceBook, window_s: int, windows: int) -> list[Pair]:
    """What the usage in a store costs under two books, by account and SKU. windows: how many there are, for the progress bar."""
    with _progress(2 * windows) as told:
        return compare(_costs(store, old, window_s, told), _costs(store, new, window_s, told))


def _costs(store: Store, book: PriceBook, window_s: int, told: Callable[[int], None]) -> dict[CostKey, Spent]:
    """By definition: all line items of all groups."""
    rates = Rates(book, window_s)
    costs: dict[CostKey, Spent] = {}
    spend(costs, _told(definition(store, rates), told))
    return costs


def _told(items: Iterator[RatedLineItem], told: Callable[[int], None]) -> Iterator[RatedLineItem]:
    for item in items:
        told(item.consumed_quantity is not None)
        yield item


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal or total < _MANY:
        yield lambda windows: None
        return
    columns = (TextColumn("rating by both books"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda windows: bar.advance(task, windows)


# -- output ----------------------------------------------------------------------------------------------------------


def print_changes(console: Console, old: Source, new: Source, found: list[Change]) -> None:
    """The definitions that differ, one block each."""
    lines = [f"from  {old.label}, digest {old.book.digest[:12]}", f"to    {new.label}, digest {new.book.digest[:12]}", ""]
    if not found:
        lines.append("no definition is different")
    for change in found:
        about = f" ({change.about})" if change.about else ""
        lines.append(f"{change.kind:<8}  {change.where}: {change.what}{about}")
        lines += [f"          {detail}" for detail in change.details]
    for line in lines:
        console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def _print_warnings(console: Console, old: PriceBook, new: PriceBook, month: int, pairs: list[Pair]) -> None:
    """What the table alone could let somebody overlook."""
    end_ns = month_start(month + 1) * 10**9
    known = {price.id for price in old.prices}
    for price in new.prices:
        if price.id not in known and price.effective_from >= end_ns:
            what = f"price {price.id} begins {time_text(price.effective_from)}, after {month_text(month)}: it makes no difference to this usage"
            console.print(printable(f"note: {what}"), soft_wrap=True, highlight=False, markup=False)
    lost = sorted({pair.sku for pair in pairs if pair.unpriced_now > pair.unpriced_then})
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        what = f"without a price in the new book: usage of {', '.join(lost[:5])}{more}; its line items would be marked unpriced, at cost 0"
        console.print(printable(f"warning: {what}"), soft_wrap=True, highlight=False, markup=False, style="yellow")
