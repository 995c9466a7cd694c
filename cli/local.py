"""`ratemill local`: the embedded Kafka and Elasticsearch, up, down and status."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from ..local.artifacts import Progress
from ..local.stack import DEFAULT_DIR, Stack
from ..local.state import StackStatus

__all__ = ["command", "shown_progress"]

DEFAULT_KAFKA_PORT = 9092
DEFAULT_ELASTICSEARCH_PORT = 9200

directory = click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_DIR, show_default=True, help="Folder of the stack."
)


@click.group()
def command() -> None:
    """A real Kafka and a real Elasticsearch on this machine, on 127.0.0.1 only; needs no Java and no Docker.

    The first start downloads about 90 MB to ~/.cache/ratemill (RATEMILL_CACHE_DIR); later ones need no network.
    """


@command.command()
@directory
@click.option("--kafka-port", type=click.IntRange(0, 65535), default=None, help=f"Port of Kafka; 0: any free one.  [default: {DEFAULT_KAFKA_PORT}]")
@click.option(
    "--elasticsearch-port",
    type=click.IntRange(0, 65535),
    default=None,
    help=f"Port of Elasticsearch; 0: any free one.  [default: {DEFAULT_ELASTICSEARCH_PORT}]",
)
@click.option("--kafka-brokers", type=click.Choice(["1", "3"]), default="1", show_default=True, help="Three take the ports from --kafka-port on.")
@click.option("--max-lifetime", type=click.FloatRange(0), default=0, help="Seconds after which the processes end by themselves; 0: never.")
@click.option("--timeout", type=click.FloatRange(1), default=120, show_default=True, help="Seconds to wait until both answer.")
def up(folder: Path, kafka_port: int | None, elasticsearch_port: int | None, kafka_brokers: str, max_lifetime: float, timeout: float) -> None:
    """Start both, and return when both answer. On a running stack it says where; a half-dead one is healed."""
    known = Stack(folder).status().addresses is not None
    stack = Stack(
        folder,
        # A port that nobody named is the default for a new stack, and whatever it has for one that is there.
        kafka_port=kafka_port if kafka_port is not None else 0 if known else DEFAULT_KAFKA_PORT,
        elasticsearch_port=elasticsearch_port if elasticsearch_port is not None else 0 if known else DEFAULT_ELASTICSEARCH_PORT,
        max_lifetime=max_lifetime,
        kafka_brokers=int(kafka_brokers),
        ready_timeout=timeout,
    )
    with shown_progress() as progress:
        stack.up(progress)
    show(stack.status())


@command.command()
@directory
@click.option("--wipe", is_flag=True, help="Remove its data and logs too.")
def down(folder: Path, wipe: bool) -> None:
    """End every process of the stack. Its data stays, unless --wipe is given."""
    ended = Stack(folder).down(wipe=wipe)
    click.echo(f"ended: {', '.join(ended)}" if ended else f"nothing runs in {folder}")
    if wipe:
        click.echo(f"removed the data and logs in {folder}")


@command.command()
@directory
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(folder: Path, as_json: bool) -> None:
    """Say what runs and answers. Exit status 0 if everything does, 1 if not."""
    now = Stack(folder).status()
    if as_json:
        click.echo(json.dumps(now.as_dict(), indent=1))
    else:
        show(now)
    if not now.running:
        sys.exit(1)


def show(now: StackStatus) -> None:
    """A small table, and what to do about what does not run. Not cut to the terminal's width: paths are there to be copied."""
    if not now.services:
        click.echo(f"nothing runs in {now.dir}; `ratemill local up` starts it")
        return
    rows = [("what", "address", "pid", "state", "log"), *((s.name, s.address, str(s.pid), s.state, s.log) for s in now.services)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if any(s.state == "dead" for s in now.services):
        click.echo("a part died: `ratemill local up` starts it again, with its data")
    elif any(s.state == "silent" for s in now.services):
        click.echo("a part runs and does not answer: read its log, or `ratemill local down` and `up`")


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A spinner with the latest line on a terminal; otherwise plain lines with seconds. On stderr, as stdout is for results."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("") as spinner:
            yield lambda line: spinner.update(line)
        return
    begin = time.monotonic()
    yield lambda line: print(f"{time.monotonic() - begin:5.1f} s  {line}", file=sys.stderr, flush=True)
