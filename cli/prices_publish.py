"""`ratemill prices publish`: put a price book in force."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import click

from ..metering.alignment import misaligned
from ..metering.succession import check_succession
from ..metering.tariff import Tariff
from ..schemas.errors import BadInput
from ..streams.config import Config, load_config
from ..streams.prices_topic import publish_book, read_published
from ..streams.topics import Topics
from .prices import mistakes_told, read_tariff

__all__ = ["publish"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--meters", type=click.Path(path_type=Path), metavar="FILE", help="Meters in YAML, if they do not stand in the price book.")
@click.option("--author", default=lambda: os.environ.get("USER", ""), metavar="NAME", help="Who publishes it.  [default: $USER]")
@click.option("--reason", required=True, metavar="TEXT", help="Why: kept beside the book, for whoever asks later.")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
def publish(file: Path, meters: Path | None, author: str, reason: str, path: str | None) -> None:
    """Check the price book FILE and put it in force: every worker takes it over within seconds.

    Line items that it changes are restated, those of usage without a price until now included.
    """
    if not author.strip() or not reason.strip():
        raise click.UsageError("--author and --reason must say something: they are kept beside the book")
    with mistakes_told():
        new = read_tariff(file, meters)
    book, config = new.book, load_config(path)
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what it would print is in the error
    _check(config, file, new)
    text = file.read_text(encoding="utf-8")
    second, its_name = ("", "") if meters is None else (meters.read_text(encoding="utf-8"), meters.name)
    tariff = asyncio.run(publish_book(config, text, file.name, author.strip(), reason.strip(), meters=second, meters_name=its_name))
    click.echo(f"published {len(book.prices)} prices in {book.currency} to {Topics.of(config.kafka).prices}, digest {tariff.digest}")
    click.echo("each worker takes it over at its next commit and restates the line items that it changes; `ratemill costs --watch` shows them,")
    click.echo("`ratemill doctor` says when every partition has it")


def _check(config: Config, file: Path, new: Tariff) -> None:
    """Whether a tariff may follow the one in force. Raises BadInput with every reason why not."""
    wrong = misaligned(new, config.rating.window_s)
    live = next((found.tariff for found in reversed(asyncio.run(read_published(config))) if not found.record.draft), None)
    if live is not None:
        wrong += check_succession(live, new, time.time_ns())
    if wrong:
        raise BadInput("\n".join(f"{file}: {each}" for each in wrong))
