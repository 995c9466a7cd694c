"""`ratemill transactions`: the way out when a Kafka transaction hangs for good."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import NamedTuple

import click

from ..schemas.errors import BadInput
from ..schemas.times import format_time
from ..streams.config import Config, load_config
from ..streams.hanging import OpenTransaction, StillOpen, abort, obstacle, open_transactions, refuse_members
from .corrections import with_config
from .dead_letter_topic import on_kafka
from .dead_letters import printable

__all__ = ["command"]

NEXT = "Now delete the data folders of all workers (worker.data_dir): they may hold what was undone. Then start the workers."


class Judged(NamedTuple):
    """An open transaction, and why it must not be aborted; nothing when it hangs."""

    found: OpenTransaction
    obstacle: str


@click.group()
def command() -> None:
    """Find and end Kafka transactions that hang: that Kafka itself will never end.

    Until then no worker gets the partitions of it. docs/operations.md says how it comes to that, and why ending one is safe.
    """


@command.command("list")
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: str | None, as_json: bool) -> None:
    """List the transactions that are open in the topics of Ratemill, oldest first.

    "hangs": Kafka will not end it, `abort` does. "open": of a worker at work, or one that died and will be over in a minute.
    """
    config = load_config(path)
    every = _judge(config)
    if as_json:
        click.echo(json.dumps({"transactions": [_as_json(each) for each in every]}, ensure_ascii=False, indent=1))
        return
    click.echo("\n".join(line for each in every for line in _lines(each)) or "no transaction is open")


@command.command("abort")
@with_config
@click.argument("topic", required=False)
@click.argument("partition", required=False, type=click.IntRange(min=0))
@click.argument("offset", required=False, type=click.IntRange(min=0))
@click.option("--all", "every", is_flag=True, help="Every transaction that hangs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def abort_(path: str | None, topic: str | None, partition: int | None, offset: int | None, every: bool, yes: bool) -> None:
    """End a transaction that hangs, in all of its partitions: nothing of it counts, and what it had rated is rated again.

    TOPIC PARTITION OFFSET is one of the places where `list` shows it. All workers must be stopped. It is refused for a transaction
    that Kafka may still end itself.
    """
    if every == (topic is not None) or (topic is not None and offset is None):
        raise click.UsageError("give TOPIC PARTITION OFFSET, or --all")
    config = load_config(path)
    judged = _judge(config)
    if not every:
        judged = [each for each in judged if (topic, partition, offset) in [part[:3] for part in each.found.parts]]
        if not judged:
            raise BadInput(f"no transaction is open at {topic} {partition} {offset}; see `ratemill transactions list`")
    chosen = [each.found for each in judged if not each.obstacle]
    for each in judged:
        if each.obstacle and chosen:
            click.echo(f"left out: {_name(each.found)}: {each.obstacle}")
    if judged and not chosen:
        raise StillOpen(f"{_name(judged[0].found)}: {judged[0].obstacle}")
    if not chosen:
        click.echo("no transaction is open")
        return
    on_kafka(config, lambda: refuse_members(config))
    click.echo("to be aborted, in each of these partitions:")
    click.echo("\n".join(line for found in chosen for line in _lines(Judged(found, ""))))
    if not yes:
        click.confirm("Are all workers stopped, and shall it be aborted?", abort=True)
    on_kafka(config, lambda: _abort(config, chosen))
    click.echo(f"aborted {len(chosen)} transaction{'s' if len(chosen) > 1 else ''}. {NEXT}")


async def _abort(config: Config, chosen: Sequence[OpenTransaction]) -> None:
    await refuse_members(config)  # once more: a person may have taken a while to say yes
    for found in chosen:
        await abort(config, found.parts)
    ended = {part for found in chosen for part in found.parts}
    if left := [part for found in await open_transactions(config) for part in found.parts if part in ended]:
        raise StillOpen(f"{left[0].topic} {left[0].partition} is still open at {left[0].offset}, although Kafka took its end; run it again")


def _judge(config: Config) -> list[Judged]:
    found = on_kafka(config, lambda: open_transactions(config))
    return [Judged(each, obstacle(config, each, time.time_ns() // 1_000_000)) for each in found]


def _name(found: OpenTransaction) -> str:
    return f"transaction of {printable(found.name)}" if found.name else f"transaction of producer {found.producer_id}"


def _lines(judged: Judged) -> list[str]:
    found = judged.found
    epochs = ", ".join(str(epoch) for epoch in sorted({part.epoch for part in found.parts}))
    state = f", Kafka says {found.state}" if found.state else ""
    head = f"{'open ' if judged.obstacle else 'hangs'}  {_name(found)} (producer {found.producer_id}, epoch {epochs}{state})"
    why = [f"       {judged.obstacle}"] if judged.obstacle else []
    return [f"{head}, last record {_time(found.last_ms)}", *why, *(f"       {part.topic} {part.partition} {part.offset}" for part in found.parts)]


def _time(ms: int) -> str:
    return format_time(ms * 1_000_000)


def _as_json(judged: Judged) -> dict[str, object]:
    found = judged.found
    parts = [{"topic": p.topic, "partition": p.partition, "offset": p.offset, "epoch": p.epoch, "last_record": _time(p.last_ms)} for p in found.parts]
    said = {"transactional_id": found.name, "producer_id": found.producer_id, "state": found.state, "hangs": not judged.obstacle}
    return {**said, "not_aborted_because": judged.obstacle, "parts": parts}
