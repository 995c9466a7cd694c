"""The demo from start to end: stack, price book, worker, usage of three clouds, live table, reconciliation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.live import Live

from ..api.tokens import Tokens
from ..cli.local import shown_progress
from ..cli.publish import Sent, publish_file
from ..pricing.book import PriceBook, parse_price_book
from ..pricing.money import use_exact_arithmetic
from ..schemas.errors import Unavailable
from ..sinks.costs import CostRow, costs
from ..sinks.elasticsearch import connect
from ..store.database import open_database
from ..streams.config import Config
from ..streams.prices_topic import publish_book
from ..streams.progress import Counters
from .compare import Comparison, compare
from .derive import Derived, derive
from .pipeline import Pipeline, forget_settings, interruptible
from .reconcile import Flow, Views, differences, offline_items, read_flow, read_views, statements
from .report import Report, costs_line, costs_view, show_comparison
from .rows import OTHER_CURRENCY, SOURCES, PricedRow, read_rows

__all__ = ["Options", "run_demo"]

BACKFILL = "ratemill-demo"  # the rows are years old, and only a declared backfill may be
_SHOWN_RATE = 200.0  # records a second in a terminal
_WATCHED_RATE = 40.0  # where somebody has the time to open the page
_KEY_S = 12 * 3_600
_VISIBLE_WITHIN_S = 240.0
_LINE_EVERY_S = 2.0


class Options(NamedTuple):
    """What the command line said."""

    once: bool
    folder: Path
    kafka_port: int
    elasticsearch_port: int
    keep: bool
    lifetime_s: float


@dataclass
class _Run:
    """What the steps of one demo hand to each other."""

    config: Config
    pipeline: Pipeline
    console: Console
    rows: list[PricedRow]
    derived: Derived
    book: PriceBook
    page: str = ""  # address of the live cost page, with a key in its fragment
    sent: list[Sent] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    last_line: str = ""
    last_line_at: float = 0.0


def run_demo(options: Options) -> int:
    """Run it; returns the exit status. Whatever happens, no process is left."""
    forget_settings()
    use_exact_arithmetic()
    console = Console()
    pipeline = Pipeline(options.folder, options.kafka_port, options.elasticsearch_port, options.lifetime_s)
    status = 1
    with interruptible() as shield, pipeline.locked():
        try:
            with shown_progress() as progress:
                config = pipeline.up(progress)
            rows = read_rows()
            derived = derive(rows, "USD")
            (pipeline.folder / "prices.yaml").write_text(derived.text, encoding="utf-8")
            book = parse_price_book(derived.text, "prices.yaml")
            status = asyncio.run(_demo(_Run(config, pipeline, console, rows, derived, book), options))
        except KeyboardInterrupt:
            status = 130 if options.once else 0
        finally:
            shield()
            console.print("stopping worker, Kafka and Elasticsearch", style="dim")
            pipeline.down(wipe=not options.keep and status in (0, 130))
    if options.keep or status not in (0, 130):
        console.print(f"data and logs are in {pipeline.folder}", style="dim", soft_wrap=True)
    return status


async def _demo(run: _Run, options: Options) -> int:
    console = run.console
    if not options.once:  # whoever only wants the reconciliation does not wait for it
        _start_page(run)
    tariff = await publish_book(run.config, run.derived.text, "prices.yaml", "ratemill demo", "derived from the rates of the usage rows")
    console.print(f"published {len(tariff.book.prices)} prices, derived from the rows' own rates", highlight=False)
    run.pipeline.start_worker()
    if not options.once:
        _show_page(run)
    rate = _SHOWN_RATE if options.once else _WATCHED_RATE
    publishing = asyncio.create_task(_publish(run, rate if console.is_terminal else 0))
    try:
        with Live(console=console, auto_refresh=False, transient=options.once) if console.is_terminal else nullcontext() as live:
            views, flow = await _until_visible(run, publishing, live)
            await _show_costs(run, live, "everything is visible")
            holds = _report(run, flow, views)
            if options.once:
                return 0 if holds else 1
            _next_steps(run)
            while True:
                run.pipeline.check()
                await _show_costs(run, live, "Ctrl-C ends the demo and removes its data" if not options.keep else "Ctrl-C ends the demo")
                await asyncio.sleep(1 if live is not None else 30)
    finally:
        publishing.cancel()


def _start_page(run: _Run) -> None:
    key, _ = Tokens(open_database(run.config.api.database.get_secret_value())).create("demo", ("costs:read", "pipeline:read"), None, _KEY_S)
    run.page = f"/?period=all#key={key}"
    run.pipeline.start_api()


def _show_page(run: _Run) -> None:
    run.page = run.pipeline.api_address() + run.page
    run.console.print("\nLive costs, in a browser, while usage flows:", style="bold")
    run.console.print(f"  {run.page}\n", soft_wrap=True, highlight=False)


async def _publish(run: _Run, rate: float) -> None:
    for source in SOURCES:
        sent = await publish_file(run.config, source.path, source.format, backfill=BACKFILL, rate=rate)
        run.sent.append(sent)


async def _until_visible(run: _Run, publishing: asyncio.Task[None], live: Live | None) -> tuple[Views, Flow]:
    """Show costs while the rows come through; returns when every one of them is counted, rated and visible.

    Raises Unavailable when the worker ends, or nothing moves on in time.
    """
    deadline = time.monotonic() + _VISIBLE_WITHIN_S
    while True:
        run.pipeline.check()
        if publishing.done():
            publishing.result()
        await _show_costs(run, live, f"{sum(sent.published.records for sent in run.sent):,} of {len(run.rows):,} rows published")
        why = ""
        if publishing.done():
            try:
                found = await _look(run)
            except Unavailable as error:
                found, why = None, f" ({error})"  # a new index takes a moment until its shards answer
            if found is not None:
                return found
        if time.monotonic() > deadline:
            raise Unavailable(f"not everything became visible within {_VISIBLE_WITHIN_S:.0f} s{why}; see {run.pipeline.worker_log}")
        await asyncio.sleep(0.5 if live is not None else 1)


async def _look(run: _Run) -> tuple[Views, Flow] | None:
    """What the pipeline holds, if everything published has come through to the end."""
    flow = await read_flow(run.config)
    if not _rated(run, flow):
        return None
    views = await read_views(run.config)
    complete = flow.indexed.received >= views.records and len(views.indexed_revisions) >= len(views.rated_revisions)
    return (views, flow) if complete else None


def _by_topic(run: _Run) -> dict[str, int]:
    totals: dict[str, int] = {}
    for sent in run.sent:
        totals[sent.topic] = totals.get(sent.topic, 0) + sent.published.records
    return totals


def _rated(run: _Run, flow: Flow) -> bool:
    passed_on = sum(counters.counted for counters in flow.normalized.values())
    arrived = all(topic in flow.normalized and flow.normalized[topic].received >= count for topic, count in _by_topic(run).items())
    return arrived and flow.rated.received >= passed_on


async def _show_costs(run: _Run, live: Live | None, note: str) -> None:
    rows = await _costs(run.config)
    seconds = time.monotonic() - run.began
    if live is not None:
        live.update(costs_view(rows, max(3, run.console.height - 10), f"{seconds:.0f} s: {note}"), refresh=True)
        return
    line = f"{costs_line(rows)}; {note}"
    if line != run.last_line and seconds - run.last_line_at >= _LINE_EVERY_S:
        run.last_line, run.last_line_at = line, seconds
        run.console.print(f"{seconds:5.1f} s  {line}", highlight=False, soft_wrap=True)


async def _costs(config: Config) -> list[CostRow]:
    client = connect(config.elasticsearch.url, **config.elasticsearch.access)
    try:
        return await costs(client, config.elasticsearch.index_prefix, by=("provider", "account", "service"))
    except Unavailable:
        return []  # the first look may come before the first index
    finally:
        await client.close()


def _report(run: _Run, flow: Flow, views: Views) -> bool:
    """Print the reconciliation; True when everything holds."""
    console, report = run.console, Report()
    window_s = run.config.rating.window_s
    offline, totals = offline_items(SOURCES, run.book, window_s)
    comparison = compare(run.rows, views.items, window_s, run.derived.rounding, run.derived.rates)
    other, other_rows = _other_currency(window_s)

    for topic, published in sorted(_by_topic(run).items()):
        report.conserved(topic, flow.normalized[topic], published)
    report.conserved("usage.events", flow.rated)
    dead = flow.dead_lettered
    received = sum(counters.received for counters in flow.normalized.values())
    report.conserved("all together", Counters(received, flow.rated.counted, flow.rated.duplicates, dead), sum(_by_topic(run).values()))
    report.check(flow.balanced and dead == views.dead_letters, f"usage.dead-letter: {views.dead_letters:,} records = {dead:,} dead-lettered")
    ours = (received, flow.rated.counted, flow.rated.duplicates, dead)
    theirs = (totals.received, totals.counted, totals.duplicates, totals.rejected)
    report.check(ours == theirs, f"offline `ratemill rate` counts the same: {totals.counted:,} + {totals.duplicates:,} + {totals.rejected:,}")
    _same(report, "Elasticsearch", views.rated, views.indexed)
    report.check(views.rated_revisions == views.indexed_revisions, f"Elasticsearch has the latest revision of all {len(views.rated_revisions):,} ids")
    _same(report, "offline `ratemill rate`", views.rated, statements(offline))
    report.check(
        not comparison.inexact_windows and not comparison.foreign_items,
        f"every line item is exactly Σ quantity x rate of its rows, in {comparison.windows:,} windows",
    )
    for name, found in (("", comparison), (" in CAD (offline, with a price book of its own)", other)):
        good = sum(product.holds for product in found.products.values())
        text = f"{good} of {len(found.products)} sums by account and product{name} equal the provider's, within what its printed digits allow"
        report.check(found.holds, text)
    console.print("\nRows beside what the provider printed", style="bold")
    show_comparison(comparison, run.rows, console)
    if run.derived.rounding == "down":
        console.print("GCP prints no rate. Its costs agree with one rate per SKU only if they were cut, not rounded, to six digits.", soft_wrap=True)
    console.print("\nIn another currency, not added to the above: one price book has one currency", style="bold")
    show_comparison(other, other_rows, console)
    console.print("\nReconciliation", style="bold")
    report.show(console)
    console.print("everything holds" if report.holds else "NOT everything holds", style="bold green" if report.holds else "bold red")
    return report.holds


def _same(report: Report, name: str, rated: dict[str, bytes], other: dict[str, bytes]) -> None:
    wrong = differences(rated, other)
    text = f"usage.rated {len(rated):,} line items = {name} {len(other):,}, byte for byte"
    report.check(not wrong, text if not wrong else f"{text}: {len(wrong):,} differ, the first is {wrong[0]}")


def _other_currency(window_s: int) -> tuple[Comparison, list[PricedRow]]:
    rows = read_rows(OTHER_CURRENCY)
    derived = derive(rows, "CAD")
    items, _ = offline_items(OTHER_CURRENCY, parse_price_book(derived.text, "prices-cad.yaml"), window_s)
    return compare(rows, items, window_s, derived.rounding, derived.rates), rows


def _next_steps(run: _Run) -> None:
    config = _near(run.pipeline.config_file)
    lines: Sequence[str] = (
        f"The pipeline keeps running. The live cost page: {run.page}",
        "In another terminal, try:",
        f"  ratemill costs --by account,service --watch --config {config}",
        f"  ratemill publish FILE --config {config}",
        f"  ratemill dead-letters list --config {config}",
        f"  ratemill prices check {_near(run.pipeline.folder / 'prices.yaml')}",
    )
    for line in lines:
        run.console.print(line, soft_wrap=True, highlight=False)


def _near(path: Path) -> Path:
    """The path as a person here would write it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
