"""`ratemill collect event-hubs`: an Azure event hub, by its Kafka endpoint, to a raw topic."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..collectors.event_hubs import EventHub, relay
from ..schemas.decoders.registry import FORMATS
from ..schemas.errors import BadInput, RatemillError
from ..streams.config import load_config
from ..streams.reach import client_settings
from ..streams.topics import Topics, ensure_topics
from .corrections import with_config
from .dead_letters import printable
from .publish import raw_topic

__all__ = ["command"]


@click.command("event-hubs")
@click.option("--connection-file", required=True, metavar="FILE", help="The connection string of the namespace or hub, with the claim Listen.")
@click.option("--hub", default="", metavar="NAME", help="Name of the hub.  [default: EntityPath of the connection string]")
@click.option("--group", default="ratemill", show_default=True, metavar="NAME", help="Consumer group: what it committed is where it goes on.")
@click.option("--bootstrap", default="", metavar="HOST:PORT", help="Kafka endpoint.  [default: port 9093 of the namespace]")
@click.option("--ca-file", default="", metavar="FILE", help="Certificates to trust (PEM), if not those of the system.")
@click.option("--format", "format", default="azure-event-hubs", show_default=True, type=click.Choice(sorted(FORMATS)), help="Format of the records.")
@click.option("--topic", metavar="NAME", help="Raw topic.  [default: that of Azure]")
@click.option("--once", is_flag=True, help="End where the hub ends now.  [default: go on for good]")
@with_config
def command(
    connection_file: str, hub: str, group: str, bootstrap: str, ca_file: str, format: str, topic: str | None, once: bool, path: str | None
) -> None:  # fmt: skip
    """Carry the records of an Azure event hub to a raw topic, such as platform metrics that a diagnostic setting streams there.

    Records go as they are, and what cannot be used lands in the dead letters. Killed anywhere, it goes on where its group committed; what is carried
    over twice counts once. Several of them with one --group share the partitions of the hub. Records that the hub removed before they were read are
    told as an error, and make the exit status 1.
    """
    config = load_config(path)
    try:
        connection = Path(connection_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{connection_file}: {error}; give a file with the connection string") from None
    source = EventHub(connection, hub, group, bootstrap, ca_file)
    name = raw_topic(Topics.of(config.kafka), format, topic)
    if name in Topics.of(config.kafka).keyed:
        raise BadInput(f"topic {name} is keyed by account, and records of a hub hold several accounts; choose another by --topic")
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        task = shown.add_task("connecting", total=None)
        removed: list[int] = []

        def lost(partition: int, number: int) -> None:
            removed.append(number)
            said = f"partition {partition} of {source.hub}: {number:,} records were removed by the hub before they were read; their usage is missing"
            click.echo(printable(f"error: {said}: let the hub keep records for longer than the longest pause"), err=True)

        async def run() -> int:
            await ensure_topics(config, {name})
            return await relay(
                source, client_settings(config.kafka), name, [("ratemill-format", format.encode())], to_end=once,
                tell=lambda count, waiting: shown.update(task, description=f"{count:,} records, {waiting:,} wait"), lost=lost,
            )  # fmt: skip

        count = asyncio.run(run())
    click.echo(f"carried over {count:,} records of {source.hub} to {name}")
    if removed:
        raise RatemillError(f"{sum(removed):,} records of {source.hub} are missing for good; what is left was carried over")
