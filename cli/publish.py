"""`ratemill publish`: usage from a file to the raw topic of its provider, byte for byte."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import click

from ..collectors.files import Piece, read_pieces
from ..collectors.publishing import Published, account_of, headers_of, publish
from ..schemas.arrays import split_array
from ..schemas.decoders.registry import FORMATS
from ..schemas.errors import BadInput, Rejection, Unavailable
from ..schemas.limits import DEFAULT_LIMITS
from ..streams.config import Config, load_config
from ..streams.reach import client_settings, not_allowed
from ..streams.topics import Topics, ensure_topics
from .counting import counted
from .offline import decode_piece
from .rate import byte_progress, printable

__all__ = ["Sent", "command", "publish_file", "raw_topic"]

_PRINTED = 20


@dataclass
class Sent:
    """Result of publishing one file."""

    topic: str
    published: Published
    undecoded: int = 0  # events or records that the pipeline will put into the dead letters
    old: int = 0  # events that the pipeline will refuse by their age, as they are no declared backfill
    seconds: float = 0.0


@click.command("publish")
@click.argument("file", metavar="FILE")
@click.option("--format", "format", type=click.Choice(sorted(FORMATS)), default="cloudevents", show_default=True, help="Format of the file.")
@click.option("--topic", metavar="NAME", help="Raw topic.  [default: that of the format's provider]")
@click.option("--backfill", metavar="NAME", default="", help="Declare the file a backfill of this name: its events may be of any age.")
@click.option("--key", type=click.Choice(["account", "none"]), default="account", show_default=True, help="Key of the records.")
@click.option("--rate", type=click.FloatRange(0), default=0, metavar="N", help="Records a second.  [default: as many as can be]")
@click.option("--check", is_flag=True, help="Read the whole file first, and send nothing if any of it does not decode.")
@click.option("--config", "path", metavar="FILE", help="Configuration file.")
def command(file: str, format: str, topic: str | None, backfill: str, key: str, rate: float, check: bool, path: str | None) -> None:
    """Publish the usage in FILE: NDJSON, a JSON array, CSV or a provider's format, also .gz; - is stdin.

    What a line holds is sent as it is: judging it is the pipeline's business, and what it cannot use lands in the dead letters.
    """
    if check and file == "-":
        raise click.UsageError("--check reads the file twice, and stdin can be read once only; save it to a file")
    if backfill and (len(backfill) > DEFAULT_LIMITS.max_text_chars or not backfill.isprintable()):
        raise click.UsageError("--backfill: give a short printable name")
    config = load_config(path)
    if check:
        _refuse_undecodable(file, format)
    sent = asyncio.run(publish_file(config, file, format, topic=topic, backfill=backfill, keyed=key == "account", rate=rate))
    click.echo(f"published {counted(sent.published.records, 'record')} ({sent.published.bytes:,} bytes) to {sent.topic} in {sent.seconds:.1f} s")
    if sent.undecoded:
        click.echo(f"{sent.undecoded:,} events or records do not decode and go to the dead letters: see `ratemill dead-letters list`", err=True)
    if sent.old:
        click.echo(f"{sent.old:,} events are too old to count live; publish them as a declared backfill: --backfill NAME", err=True)
    for piece, why in sent.published.too_large[:_PRINTED]:
        click.echo(f"error: {printable(piece.file)}:{piece.line}: not sent: {why}; split it", err=True)
    if sent.published.too_large:
        if len(sent.published.too_large) > _PRINTED:
            click.echo(f"and {len(sent.published.too_large) - _PRINTED:,} more that are too large", err=True)
        sys.exit(1)


def _refuse_undecodable(file: str, format: str) -> None:
    mistakes = 0
    with byte_progress(file, "checking") as progress:
        for piece in read_pieces(file, format, progress):
            for entry in decode_piece(piece, format):
                if isinstance(entry, Rejection):
                    mistakes += 1
                    if mistakes <= _PRINTED:
                        click.echo(printable(f"{piece.file}:{piece.line}: {entry.reason}: {entry.detail}"), err=True)
    if mistakes:
        raise BadInput(f"{file}: {mistakes:,} events or records do not decode; nothing was sent (without --check they go to the dead letters)")


def raw_topic(topics: Topics, format: str, wanted: str | None) -> str:
    """The raw topic for a format, or the one that was asked for. Raises BadInput."""
    if wanted is not None:
        if wanted not in topics.raw:
            raise BadInput(f"topic {wanted} is no raw topic of this configuration; there are {', '.join(sorted(topics.raw))}")
        return wanted
    provider = format.split("-")[0]
    if provider not in ("aws", "gcp", "azure"):
        provider = "cloudevents"
    found = sorted(name for name, its in topics.raw.items() if its == provider)
    if len(found) != 1:
        what = f"several raw topics ({', '.join(found)})" if found else "no raw topic"
        raise BadInput(f"the configuration has {what} of provider {provider}; name one by --topic, of {', '.join(sorted(topics.raw))}")
    return found[0]


async def publish_file(
    config: Config, file: str, format: str, *, topic: str | None = None, backfill: str = "", keyed: bool = True, rate: float = 0
) -> Sent:
    """Publish a file; creates its topic if that is missing. Raises BadInput, Unavailable, AccessDenied."""
    topics = Topics.of(config.kafka)
    name = raw_topic(topics, format, topic)
    must_key = name in topics.keyed
    if must_key and not keyed:
        raise BadInput(f"topic {name} is declared keyed by account; leave out --key none")
    await ensure_topics(config, {name})
    sent = Sent(name, Published())
    began = time.monotonic()
    oldest = 0 if backfill else time.time_ns() - config.rating.event_age_s * 1_000_000_000
    key: Callable[[bytes], bytes | None] = (lambda value: account_of(value, format)) if keyed else lambda value: None
    with byte_progress(file, "publishing") as progress:
        pieces = read_pieces(file, format, progress)
        if must_key:
            pieces = _one_by_one(pieces)
        try:
            sent.published = await publish(
                client_settings(config.kafka), name, _watched(pieces, format, oldest, sent), headers_of(format, backfill), key, rate
            )
        except Unavailable as error:
            raise not_allowed(config.kafka, error.__cause__) or error from error
    sent.seconds = time.monotonic() - began
    return sent


def _one_by_one(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """A batch may hold several accounts, and a keyed topic takes each account in its own partition: so its elements go alone."""
    for piece in pieces:
        if piece.value[:1] != b"[" or piece.size:
            yield piece
            continue
        for line, value, _ in split_array(piece.value):
            yield Piece(piece.file, piece.line + line - 1, value)


def _watched(pieces: Iterable[Piece], format: str, oldest: int, sent: Sent) -> Iterator[Piece]:
    """Count what the pipeline will refuse; nothing is held back."""
    for piece in pieces:
        if not piece.size:
            for entry in decode_piece(piece, format):
                if isinstance(entry, Rejection):
                    sent.undecoded += 1
                elif entry.time < oldest:
                    sent.old += 1
        yield piece
