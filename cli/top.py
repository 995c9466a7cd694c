"""`ratemill top`: how the pipeline stands, lane by lane and partition by partition, while it happens."""

from __future__ import annotations

import asyncio
import logging
from typing import NoReturn

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..schemas.pipeline import BEHIND_S, LaneHealth, PipelineHealth
from ..streams.config import Config, load_config
from .corrections import with_config
from .pipeline_view import KEEP_S, PipelineView

__all__ = ["command", "view"]

_STYLE = {"ok": "green", "behind": "yellow", "stale": "red"}
_TOPIC_WIDTH = 24  # characters; with all columns at their widest, 80
_AROUND = 8  # lines of the screen that are not rows of the table


@click.command("top")
@with_config
@click.option("--once", is_flag=True, help="Print the table once, after a second for the throughput.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, as GET /v1/pipeline gives it.")
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(min=KEEP_S), metavar="SECONDS", help="Pause between two looks.")
@click.pass_context
def command(ctx: click.Context, path: str | None, once: bool, as_json: bool, every: float) -> None:
    """Show each lane and partition: throughput, what waits and for how long; and how fresh costs are.

    It looks at Kafka and Elasticsearch, asks no worker, and changes nothing. It goes on, with a note, while one of them is away. With --once
    or --json, and when the output is no terminal, it ends; the exit status is 1 when the freshness is not known.
    """
    logging.getLogger("ratemill.pipeline").addHandler(logging.NullHandler())  # what it would print is shown
    config, console = load_config(path), Console()
    if not (once or as_json) and console.is_terminal:
        asyncio.run(_watch(config, console, every))
    health, trouble = asyncio.run(_once(config))
    if as_json:
        click.echo(msgspec.json.encode(health).decode())
    else:
        console.print(view(health, trouble))
    ctx.exit(1 if health.freshness_s is None else 0)


async def _once(config: Config) -> tuple[PipelineHealth, list[str]]:
    pipeline = PipelineView(config)
    try:
        await pipeline()
        await asyncio.sleep(KEEP_S)
        return await pipeline(), pipeline.trouble
    finally:
        await pipeline.close()


async def _watch(config: Config, console: Console, every: float) -> NoReturn:
    pipeline = PipelineView(config)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                health = await pipeline()
                live.update(view(health, pipeline.trouble, max(3, console.height - _AROUND - len(pipeline.trouble))), refresh=True)
                await asyncio.sleep(every)
    finally:
        await pipeline.close()


def view(health: PipelineHealth, trouble: list[str], room: int | None = None) -> Group:
    """The table, at most `room` rows of it, those that are most behind; above it what holds for all. trouble: shown instead of the notes."""
    lines: list[Text | Table] = [_headline(health)]
    if health.lanes:
        lines.append(_table(health.lanes, room))
    return Group(*lines, *(Text(note, style="red") for note in trouble or health.notes))


def _headline(health: PipelineHealth) -> Text:
    letters = f"dead letters {_count(health.dead_letters_last_hour)} in an hour, {_count(health.dead_letters_last_day)} in a day"
    text = Text.assemble(
        (f"{health.status}", _STYLE[health.status]), f"  freshness {_seconds(health.freshness_s)}  waiting {_count(health.lag_records)}\n{letters}\n",
        f"without a price {_count(health.unpriced)}{f', the oldest for {_seconds(health.oldest_unpriced_s)}' if health.unpriced else ''}",
    )  # fmt: skip
    if (kept := health.conservation) is not None:
        if kept.balanced:
            text.append(f"\n{kept.received:,} received = {kept.counted:,} counted + {kept.duplicate:,} duplicate")
            text.append(f" + {kept.dead_lettered:,} dead-lettered")
        else:
            text.append(f"\ndoes not add up: {', '.join(kept.unbalanced)}; report this as a defect", "red")
    return text


def _table(rows: list[LaneHealth], room: int | None) -> Table:
    worst = max(rows, key=_badness)
    shown = rows if room is None or len(rows) <= room else sorted(rows, key=_badness, reverse=True)[:room]
    left_out = len(rows) - len(shown)
    table = Table(box=SIMPLE_HEAD, show_edge=False, caption=f"and {left_out} that are less behind" if left_out else None, caption_justify="left")
    table.add_column("lane", no_wrap=True)
    table.add_column("topic", no_wrap=True)
    for name in ("partition", "records/s", "waiting", "for"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in shown:
        style = "red bold" if row is worst and row.lag_records else "yellow" if (row.lag_s or 0) > BEHIND_S else None
        speed = "" if row.records_per_s is None else f"{row.records_per_s:,.1f}"
        topic = row.topic if len(row.topic) <= _TOPIC_WIDTH else "…" + row.topic[1 - _TOPIC_WIDTH :]  # what tells them apart is at their end
        table.add_row(row.lane, topic, str(row.partition), speed, f"{row.lag_records:,}", _seconds(row.lag_s), style=style)
    return table


def _badness(row: LaneHealth) -> tuple[float, int]:
    return float("inf") if row.lag_s is None else row.lag_s, row.lag_records


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 6_000 else f"{seconds / 3_600:,.0f} h"
