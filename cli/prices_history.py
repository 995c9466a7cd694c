"""`ratemill prices history`: every version that was published, and every draft, with who, why, when, and what changed."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import NamedTuple

import click

from ..metering.tariff import EMPTY_TARIFF
from ..schemas.times import format_time
from ..streams.config import load_config
from ..streams.prices_topic import Published, in_force, read_published
from ..streams.topics import Topics
from .prices_changes import Change, as_json, changes
from .prices_diff import change_lines
from .prices_sources import Source, published_source
from .rate import printable

__all__ = ["history"]

_NOTHING = Source(EMPTY_TARIFF, "", "nothing", "nothing")


class Entry(NamedTuple):
    """One publication. state: in force, replaced, draft runs, draft, draft ended."""

    found: Published
    state: str
    against: str  # digest of what `changes` compares with; "" for nothing
    changes: list[Change]


@click.command()
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="How many, the newest first.")
@click.option("--full", is_flag=True, help="Every change with its amounts.")
@click.option("--json", "json_wanted", is_flag=True, help="All of it as one JSON document.")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
def history(last: int, full: bool, json_wanted: bool, path: str | None) -> None:
    """List the versions of the price book, the newest first: author, reason, time, what changed. Drafts are shown too.

    A version is compared with the one that was in force before it, a draft with the one that was in force beside it.
    """
    config = load_config(path)
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what it would print is in the error
    entries = history_of(asyncio.run(read_published(config)))[::-1][:last]
    if json_wanted:
        click.echo(json.dumps([_entry_as_json(entry) for entry in entries], ensure_ascii=False, indent=2))
        return
    if not entries:
        click.echo(f"{Topics.of(config.kafka).prices}: nothing was published yet")
    for number, entry in enumerate(entries):
        for line in ([""] if number else []) + _lines(entry, full):
            click.echo(printable(line))


def history_of(published: list[Published]) -> list[Entry]:
    """Every publication, in the order of the topic."""
    live, draft = in_force(published)
    entries: list[Entry] = []
    before: Published | None = None
    for found in published:
        known = _NOTHING if before is None else published_source(before, "")
        digest = "" if before is None or before.tariff is None else before.tariff.digest
        if found.tariff is None:
            entries.append(Entry(found, "draft ended", digest, []))
            continue
        differing = changes(known, published_source(found, ""))
        if found.record.draft:
            entries.append(Entry(found, "draft runs" if found is draft else "draft", digest, differing))
            continue
        entries.append(Entry(found, "in force" if found is live else "replaced", digest, differing))
        before = found
    return entries


def _lines(entry: Entry, full: bool) -> list[str]:
    record, tariff = entry.found.record, entry.found.tariff
    when = format_time(record.published_at_ns // 10**9 * 10**9)
    what = f"{record.name}, digest {tariff.digest[:12]}, " if tariff is not None else ""
    head = f"{when}  {entry.state:<11}  {what}by {record.author}: {record.reason}"
    if full:
        return [head, *(f"    {line}" for line in change_lines(entry.changes))]
    counts: dict[str, list[str]] = {}
    for change in entry.changes:
        counts.setdefault(change.kind, []).append(change.what)
    return [head, *(f"    {kind}: {_some(names)}" for kind, names in counts.items())]


def _some(names: list[str]) -> str:
    shown = 5
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _entry_as_json(entry: Entry) -> dict[str, object]:
    record, tariff = entry.found.record, entry.found.tariff
    return {
        "published_at": format_time(record.published_at_ns),
        "state": entry.state,
        "name": record.name,
        "digest": None if tariff is None else tariff.digest,
        "author": record.author,
        "reason": record.reason,
        "draft": record.draft,
        "against": entry.against or None,
        "changes": [as_json(change) for change in entry.changes],
    }
