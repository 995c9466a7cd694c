"""`ratemill prices publish`: put a price book in force."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

import click

from ..metering.alignment import misaligned
from ..metering.succession import check_succession
from ..pricing.money import use_exact_arithmetic
from ..schemas.errors import BadInput
from ..streams.config import Config, load_config
from ..streams.prices_topic import in_force, publish_book, read_published
from ..streams.topics import Topics
from .author import author_option
from .prices import mistakes_told
from .prices_changes import changes, edits_in_place
from .prices_effect import changed_terms, changes_the_past, effect, effect_lines
from .prices_places import placed
from .prices_sources import Source, file_source, published_source
from .rate import printable

__all__ = ["publish"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--meters", type=click.Path(path_type=Path), metavar="FILE", help="Meters in YAML, if they do not stand in the price book.")
@author_option("Who publishes it.")
@click.option("--reason", required=True, metavar="TEXT", help="Why: kept beside the book, for whoever asks later.")
@click.option("--restate", is_flag=True, help="Let it change what was rated already: prices that were published, or a begin in the past.")
@click.option("--no-effect", is_flag=True, help="Do not work out what a change of the past comes to.")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
def publish(file: Path, meters: Path | None, author: str, reason: str, restate: bool, no_effect: bool, path: str | None) -> None:
    """Check the price book FILE and put it in force: every worker takes it over within seconds.

    A published price is not edited: one that stands in the live book with another definition, or is gone, is refused by file and
    line, and so is one that begins where another was in force, and so are adjustments and terms that change closed months. With
    --restate it is put in force all the same: line items of open months are restated, closed months get corrections. What that
    comes to is said first. Usage without a price until now gets its price in any case.
    """
    if not author.strip() or not reason.strip():
        raise click.UsageError("--author and --reason must say something: they are kept beside the book")
    use_exact_arithmetic()
    with mistakes_told():
        new = file_source(file, meters)
    config = load_config(path)
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what it would print is in the error
    draft = _checked(config, new, restate, no_effect)
    text = file.read_text(encoding="utf-8")
    second, its_name = ("", "") if meters is None else (meters.read_text(encoding="utf-8"), meters.name)
    tariff = asyncio.run(publish_book(config, text, file.name, author.strip(), reason.strip(), meters=second, meters_name=its_name))
    click.echo(f"published {len(new.book.prices)} prices in {new.book.currency} to {Topics.of(config.kafka).prices}, digest {tariff.digest}")
    click.echo("each worker takes it over at its next commit and restates the line items that it changes; `ratemill costs --watch` shows them,")
    click.echo("`ratemill doctor` says when every partition has it")
    if draft == tariff.digest:
        click.echo("it was the draft that ran beside the live book; that comparison is over")


def _checked(config: Config, new: Source, restate: bool, no_effect: bool) -> str:
    """Whether a book may follow the one in force, and what that does to the past. Returns the digest of the draft that runs, or "".

    Raises BadInput with every reason why not.
    """
    published, now_ns = asyncio.run(read_published(config)), time.time_ns()
    live, draft = in_force(published)
    wrong = misaligned(new.tariff, config.rating.window_s)
    if live is not None and live.tariff is not None:
        wrong += check_succession(live.tariff, new.tariff, now_ns)
    if wrong:
        raise BadInput("\n".join(placed(wrong, [(new.text, new.name), (new.meters, new.meters_name)])))
    if live is not None and live.tariff is not None:
        old = published_source(live, "the live book")
        edits, found = edits_in_place(old, new, now_ns), changes(old, new)
        if not restate:
            _refuse(edits)
        if no_effect and not restate:
            _refuse([f"{each}, or leave out --no-effect" for each in changed_terms(found)])
        if not no_effect and changes_the_past(found, edits, old.tariff, new.tariff, now_ns):
            months = effect(config, old.tariff, new.tariff)
            lines = ["of what was rated already, this changes" + (":" if months else " nothing"), *effect_lines(months)]
            if not restate and any(month.closed for month in months) and (terms := changed_terms(found)):
                _refuse([*terms, *lines])
            for line in lines:
                click.echo(line)
    return "" if draft is None or draft.tariff is None else draft.tariff.digest


def _refuse(lines: list[str]) -> None:
    """End with these lines on stderr, if there are any."""
    for line in lines:
        click.echo(printable(line), err=True)
    if lines:
        sys.exit(BadInput.exit_status)
