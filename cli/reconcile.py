"""`ratemill reconcile`: does Elasticsearch hold what `usage.rated` does?"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import click
import msgspec
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..pricing.money import use_exact_arithmetic
from ..schemas.control import month_number
from ..schemas.errors import BadInput
from ..sinks.costs import fetch_line_items
from ..streams.config import Config, load_config
from ..streams.reach import admin_client
from ..streams.topics import Topics
from .committed import CommittedTopic
from .corrections import bar, with_config
from .dead_letter_topic import on_kafka
from .elasticsearch_source import Source, reading
from .reconciling import Comparison

__all__ = ["command", "metrics_of"]

VISIBLE_AFTER_S = 2.0  # the refresh interval of our indexes is 1 s
ROWS_SHOWN = 50


@click.command("reconcile")
@with_config
@click.option("--period", metavar="YYYY-MM", help="Only this billing month.")
@click.option("--wait", default=60, show_default=True, type=click.IntRange(0), metavar="SECONDS", help="How long Elasticsearch may be behind.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--metrics", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Also write the outcome as Prometheus metrics.")
@click.pass_context
def command(ctx: click.Context, path: str | None, period: str | None, wait: int, as_json: bool, metrics: str | None) -> None:
    """Compare every line item of usage.rated with Elasticsearch: exactly, whatever runs meanwhile. It changes nothing.

    All of the topic and all of the documents are read, and some 500 bytes a line item are held in memory: run it by night, or with --period.
    Exit status 1 when anything differs. --metrics FILE is for the textfile collector of node_exporter; the alert rules look at it.
    """
    if period is not None:
        try:
            month_number(period)
        except ValueError as error:
            raise BadInput(str(error)) from error
    use_exact_arithmetic()
    config = load_config(path)
    found = Comparison(period)
    behind = on_kafka(config, lambda: _compare(config, found, period, wait))
    outcome = found.document()
    if metrics:
        write_to_textfile(metrics, metrics_of(outcome["line_items"], outcome["differences"], time.time()))
    if as_json:
        click.echo(json.dumps({**outcome, "behind": behind}, ensure_ascii=False))
    else:
        _show(outcome, behind, wait)
    ctx.exit(1 if outcome["differences"] else 0)


async def _compare(config: Config, found: Comparison, period: str | None, wait: int) -> int:
    """Read both sides; returns how many partitions Elasticsearch was still behind in when it was read."""
    with bar("usage.rated") as tell:
        topic = CommittedTopic(config, Topics.of(config.kafka).rated, tell)
        async for record in topic.read():
            if record.value is not None:
                found.rated(msgspec.json.decode(record.value))
    behind = await _until_indexed(config, topic.last, wait)
    await asyncio.sleep(VISIBLE_AFTER_S)
    search = config.elasticsearch
    with bar("Elasticsearch", found.line_items) as tell:
        async with reading(Source(search.url, search.index_prefix, search.access)) as client:
            done = 0
            async for item in fetch_line_items(client, search.index_prefix, period=period):
                found.indexed(item)
                done += 1
                if not done % 1_000:
                    tell(done, max(done, found.line_items))
    async for record in topic.read():
        if record.value is not None:
            found.rated_since(msgspec.json.decode(record.value))
    return behind


async def _until_indexed(config: Config, last: dict[TopicPartition, int], wait: int) -> int:
    """Wait until Elasticsearch has these records; returns the number of partitions of which it has not all, when it took too long."""
    deadline = time.monotonic() + wait
    async with admin_client(config.kafka) as admin:
        while True:
            offsets = await admin.list_consumer_group_offsets(config.kafka.group_id)
            behind = sum(1 for tp, offset in last.items() if tp not in offsets or offsets[tp].offset <= offset)
            if not behind or time.monotonic() >= deadline:
                return behind
            await asyncio.sleep(0.5)


def metrics_of(line_items: int, differences: int, at: float) -> CollectorRegistry:
    """The outcome as Prometheus metrics. at: seconds since 1970."""
    registry = CollectorRegistry()
    for name, text, value in (
        ("ratemill_reconciled_line_items", "Line items of usage.rated that were looked for in Elasticsearch.", line_items),
        ("ratemill_reconciliation_differences", "Line items that Elasticsearch lacks, has too many, or has otherwise (5).", differences),
        ("ratemill_reconciliation_timestamp_seconds", "When that was.", at),
    ):
        Gauge(name, text, registry=registry).set(value)
    return registry


def _show(outcome: dict[str, Any], behind: int, wait: int) -> None:
    console, rows = Console(), outcome["rows"]
    if behind:
        click.echo(f"Elasticsearch was still behind in {behind} partitions after {wait} s: what is missing may come; see `ratemill top`", err=True)
    click.echo(f"{outcome['line_items']:,} line items of {outcome['groups']:,} accounts' months: {outcome['differences']:,} differ")
    if not rows:
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for name in ("account", "period", "currency", "missing", "extra", "other", "rated", "elasticsearch"):
        table.add_column(name, justify="right" if name not in ("account", "period", "currency") else "left", overflow="fold")
    for row in rows[:ROWS_SHOWN]:
        table.add_row(*(str(row[column.header]) for column in table.columns))
    console.print(table)
    if len(rows) > ROWS_SHOWN:
        click.echo(f"and {len(rows) - ROWS_SHOWN} more; --json has all")
    click.echo("rated and elasticsearch: billed cost of the line items that differ. One of them: " + rows[0]["example"])
