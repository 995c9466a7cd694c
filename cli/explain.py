"""`ratemill explain`: where a line item comes from, recomputed and compared with what is stored."""

from __future__ import annotations

import os
import sys
from contextlib import aclosing
from typing import Any

import click
import msgspec
from rich.console import Console

from ..pricing.money import use_exact_arithmetic
from ..schemas.errors import BadInput
from ..schemas.explanation import DIFFERS, Explanation
from ..streams.config import Config, load_config
from ..streams.find_events import arrival_floor_ms, events_of
from ..streams.lean_records import use_lean_records
from .dead_letter_topic import on_kafka
from .explaining.build import Explained, begin, finish, tally_of
from .explaining.gather import Bar, gather
from .explaining.page import show
from .explaining.reading import log_begins, progress_bar
from .explaining.tally import Tally

__all__ = ["command", "explain"]

PIPE_WIDTH = 160  # where there is no terminal to fit the page into


@click.command("explain")
@click.argument("line_item_id", metavar="LINE_ITEM_ID")
@click.option("--events", "size", default=20, show_default=True, type=click.IntRange(min=0), metavar="N", help="Events on a page; 0: look for none.")
@click.option("--page", default=1, show_default=True, type=click.IntRange(min=1), metavar="N", help="Which page of the events.")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON document.")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
def command(line_item_id: str, size: int, page: int, as_json: bool, path: str | None) -> None:
    """Explain a line item: its price, its arithmetic, its revisions, its events.

    LINE_ITEM_ID is an x_LineItemId. The line item is made anew from the state of its partition and compared with what is stored.
    Exit status 0: nothing differs. 1: something does, and the audit says what. 2: there is no such line item.
    """
    if not line_item_id.strip() or len(line_item_id) > 200 or not line_item_id.isprintable():
        raise BadInput("that is no line item id; give the x_LineItemId of a line item")
    use_exact_arithmetic()
    use_lean_records()
    config = load_config(path)
    explanation = on_kafka(config, lambda: explain(config, line_item_id.strip(), size, page, progress_bar))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(explanation), indent=1).decode())
    else:
        fits = sys.stdout.isatty() or "COLUMNS" in os.environ
        show(explanation, Console(width=None if fits else PIPE_WIDTH))
    if explanation.verdict == DIFFERS:
        sys.exit(1)


async def explain(config: Config, line_item_id: str, size: int, page: int, bar: Bar, *, for_customer: bool = False) -> Explanation:
    """Read, make anew, compare. Raises BadInput when there is no such line item, Unavailable, KafkaError, Unsettled.

    size: events on a page, 0: look for none. bar: shows how far reading has come. for_customer: names nobody but the account of the line item.
    """
    facts = await gather(config, line_item_id, bar)
    explained = begin(facts.for_customer() if for_customer else facts)
    tally = tally_of(explained, page, size) if size else None
    if tally is not None:
        await _look_for_events(config, explained, tally, bar)
    return finish(explained, tally)


async def _look_for_events(config: Config, explained: Explained, tally: Tally, bar: Bar) -> None:
    """Feed the tally with the events that the state knows of; if they do not add up, look through all that the log still has."""
    since_ms = arrival_floor_ms(config, explained.since_s * 1_000_000_000)
    await _feed(config, explained, tally, since_ms, bar)
    begins = await log_begins(config, explained.facts.partition, since_ms)
    if begins:
        tally.events.note = begins
    elif explained.adds_up and tally.quantity != explained.expected:
        # Collectors set the times of their records themselves: one whose clock is slow by hours is found this way.
        tally.restart()
        await _feed(config, explained, tally, 0, bar)


async def _feed(config: Config, explained: Explained, tally: Tally, since_ms: int, bar: Bar) -> None:
    account, ends = explained.facts.stored.billing_account_id, explained.ends
    with bar("reading events") as advance:
        found: Any = events_of(
            config, account, tally.wanted, since_ms=since_ms, ends=ends, repeated=True, left_out=lambda each: tally.reject(each.event),
            progress=advance,
        )  # fmt: skip
        async with aclosing(found) as events:
            async for each in events:
                tally.take(each.event, each.origin, each.position, explained.facts.reverted)
