"""`ratemill prices shadow` and `variance`: a draft beside the live book, on the live usage, and what it says."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import NamedTuple

import click
from aiokafka import TopicPartition
from rich.console import Console

from ..metering.tariff import EMPTY_TARIFF
from ..pricing.money import money, use_exact_arithmetic
from ..schemas.control import month_text
from ..schemas.errors import BadInput
from ..schemas.times import format_time
from ..schemas.variance import STATUS_KEY, Variance, decode_status, decode_variance
from ..streams.config import Config, load_config
from ..streams.core.comparison import CostKey, Pair, Spent, compare
from ..streams.prices_topic import Published, end_draft, in_force, publish_book, read_published
from ..streams.restore import read_to_end
from ..streams.topics import Topics, ensure_topics
from .author import author_option
from .prices import mistakes_told
from .prices_changes import changes
from .prices_diff import month_option, print_changes, this_month
from .prices_sources import Source, file_source, published_source
from .prices_table import grouping, print_pairs, report_as_json
from .rate import printable

__all__ = ["shadow", "variance"]

_TOP = 30  # rows of the table
CONFIG_HELP = "Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG)."


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--meters", type=click.Path(path_type=Path), metavar="FILE", help="Meters in YAML, if they do not stand in the price book.")
@click.option("--stop", is_flag=True, help="End the draft that runs.")
@author_option("Who does it.")
@click.option("--reason", required=True, metavar="TEXT", help="Why: kept beside the draft, for whoever asks later.")
@click.option("--config", "path", metavar="FILE", help=CONFIG_HELP)
def shadow(file: Path | None, meters: Path | None, stop: bool, author: str, reason: str, path: str | None) -> None:
    """Let the price book FILE run beside the live one as a draft: `ratemill prices variance` says what it would have cost.

    All usage of the open months is rated by both, and whatever comes from now on. No line item changes. Another draft takes the
    place of this one; publishing the very same book ends it. Usage is metered once, by the live meters.
    """
    if not author.strip() or not reason.strip():
        raise click.UsageError("--author and --reason must say something: they are kept beside the draft")
    if stop == (file is not None):
        raise click.UsageError("name the draft FILE, or say --stop")
    config = load_config(path)
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what it would print is in the error
    if file is None:
        _stop(config, author.strip(), reason.strip())
        return
    with mistakes_told():
        draft = file_source(file, meters)
    found = in_force(asyncio.run(read_published(config))).live
    live = None if found is None else published_source(found, "the live book")
    if live is not None and live.tariff.digest == draft.tariff.digest:
        raise BadInput(f"{file}: this is the live book, digest {draft.tariff.digest[:12]}: there is nothing to compare; name a draft of another one")
    text, second = file.read_text(encoding="utf-8"), "" if meters is None else meters.read_text(encoding="utf-8")
    its_name = "" if meters is None else meters.name
    asyncio.run(publish_book(config, text, file.name, author.strip(), reason.strip(), draft=True, meters=second, meters_name=its_name))
    console = Console()
    if live is not None:
        print_changes(console, live, draft, changes(live, draft))
    for line in _what_follows(live, draft):
        console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def _what_follows(live: Source | None, draft: Source) -> list[str]:
    lines = ["", f"draft {draft.tariff.digest[:12]} runs beside the live book; each worker first goes through the usage of the open months,"]
    lines += ["then follows the stream; `ratemill prices variance` says what it would cost, `ratemill prices shadow --stop` ends it"]
    if live is None:
        lines.append("note: no book is in force: all usage is unpriced on the live side")
    elif live.tariff.meters.digest != draft.tariff.meters.digest:
        lines.append("note: the draft has other meters; usage is metered once, by the live ones. `ratemill prices diff --events` tries meters")
    return lines


def _stop(config: Config, author: str, reason: str) -> None:
    draft = in_force(asyncio.run(read_published(config))).draft
    if draft is None or draft.tariff is None:
        raise BadInput("no draft runs beside the live book; there is nothing to stop")
    asyncio.run(end_draft(config, author, reason))
    click.echo(f"draft {draft.tariff.digest[:12]} ({draft.record.name}) is stopped; each worker clears its tallies away")


# -- what it says ----------------------------------------------------------------------------------------------------


class _Said(NamedTuple):
    """What the topic of the shadow says of a live book and a draft, as of now."""

    variances: list[Variance]
    since_ns: int  # when the first partition began; 0: none has
    partitions: int
    ready: int  # partitions in which all usage is in
    up_to_date: bool  # no partition has usage that its records do not tell of yet


@click.command()
@click.option("--period", "month", callback=month_option, metavar="YYYY-MM", help="Month of the usage.  [default: this month]")
@click.option("--account", metavar="ID", help="Only this account.")
@click.option("--by", default="account", callback=grouping, show_default=True, metavar="DIM,…", help="Rows of the table: account, sku, or both.")
@click.option("--top", type=click.IntRange(0), default=_TOP, show_default=True, help="Rows that are shown.")
@click.option("--json", "json_wanted", is_flag=True, help="Exact amounts and all rows as one JSON document.")
@click.option("--config", "path", metavar="FILE", help=CONFIG_HELP)
def variance(month: int | None, account: str | None, by: tuple[str, ...], top: int, json_wanted: bool, path: str | None) -> None:
    """Say what the draft would cost, against the live book: exact, for the usage of a month as it stands now.

    Usage counts in the month in which it happened. Exit status 1 while a partition has not yet gone through all its usage.
    """
    use_exact_arithmetic()
    config = load_config(path)
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what it would print is in the error
    published = asyncio.run(read_published(config))
    live, draft = in_force(published)
    if draft is None:
        raise BadInput("no draft runs beside the live book; start one by `ratemill prices shadow FILE --reason TEXT`")
    said = asyncio.run(_read(config, _digest(live), _digest(draft)))
    period = month_text(this_month() if month is None else month)
    chosen = [v for v in said.variances if v.period == period and account in (None, v.account)]
    pairs = pairs_of(chosen)
    if json_wanted:
        document = {
            "live": _digest(live),
            "draft": _digest(draft),
            "author": draft.record.author,
            "reason": draft.record.reason,
            "since": format_time(said.since_ns) if said.since_ns else None,
            "period": period,
            "closed": any(v.closed for v in chosen),
            "partitions": said.partitions,
            "partitions_ready": said.ready,
            "up_to_date": said.up_to_date,
            **report_as_json(pairs, by),
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        console = Console()
        _print_books(console, live, draft, said.since_ns)
        others = sorted({v.period for v in said.variances} - {period})
        there = f"; there is usage of {', '.join(others[-12:])}: name one by --period" if others and not pairs else ""
        what = f"usage of {period}: {len({p.account for p in pairs}):,} accounts{there}"
        console.print("\n" + printable(what), soft_wrap=True, highlight=False, markup=False)
        if pairs:
            print_pairs(console, pairs, by, ("live", "draft"), top)
        if not said.up_to_date:
            console.print("usage comes in: that of the last seconds is not told of yet", highlight=False)
    if said.ready < said.partitions:
        waiting = said.partitions - said.ready
        click.echo(f"{waiting} of {said.partitions} partitions have not gone through all their usage yet; what is there is missing here", err=True)
        raise click.exceptions.Exit(1)


def _digest(found: Published | None) -> str:
    return EMPTY_TARIFF.digest if found is None or found.tariff is None else found.tariff.digest


def _told(found: Published) -> str:
    record = found.record
    when = format_time(record.published_at_ns // 10**9 * 10**9)
    return f"{record.name}, digest {_digest(found)[:12]}, published {when} by {record.author}: {record.reason}"


def _print_books(console: Console, live: Published | None, draft: Published, since_ns: int) -> None:
    lines = [f"live   {_told(live) if live else 'no book is in force: all usage is unpriced'}", f"draft  {_told(draft)}"]
    lines += [f"since  {format_time(since_ns // 10**9 * 10**9)}" if since_ns else "since  not begun yet"]
    for line in lines:
        console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def pairs_of(variances: list[Variance]) -> list[Pair]:
    """Rows of a comparison from records."""
    sides: tuple[dict[CostKey, Spent], dict[CostKey, Spent]] = {}, {}
    for found in variances:
        for row in found.skus:
            for side, currency, cost, unpriced in (
                (sides[0], found.live_currency, row.live, row.unpriced_live), (sides[1], found.draft_currency, row.draft, row.unpriced_draft),
            ):  # fmt: skip
                key = CostKey(found.account, row.sku, currency)
                side[key] = side.get(key, Spent()).plus(money(cost), unpriced)
        for charge in found.adjustments:
            for side, currency, cost in ((sides[0], found.live_currency, charge.live), (sides[1], found.draft_currency, charge.draft)):
                key = CostKey(found.account, charge.sku or charge.adjustment, currency)
                side[key] = side.get(key, Spent()).plus(money(cost))
    return compare(*sides)


async def _read(config: Config, live: str, draft: str) -> _Said:
    """Raises Unavailable, Unsettled."""
    topic = Topics.of(config.kafka).shadow
    counts = await ensure_topics(config)
    starts = {TopicPartition(topic, number): 0 for number in range(counts[topic])}
    latest: dict[tuple[int, bytes], bytes | None] = {}
    async for tp, records in read_to_end(config.kafka, starts):
        for record in records:
            latest[tp.partition, record.key] = record.value
    variances = [decode_variance(value) for (_, key), value in latest.items() if key != STATUS_KEY and value]
    statuses = [decode_status(value) for (_, key), value in latest.items() if key == STATUS_KEY and value]
    ours = [status for status in statuses if (status.live_book, status.draft_book) == (live, draft)]
    return _Said(
        [v for v in variances if (v.live_book, v.draft_book) == (live, draft)],
        min((status.since_ns for status in ours), default=0),
        len(starts),
        sum(status.complete for status in ours),
        not any(status.untold for status in ours),
    )
