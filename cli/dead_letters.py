"""`ratemill dead-letters`: list, show and replay what could not be counted."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ..schemas.dead_letter import VALUE_LIMIT, DeadLetter
from ..schemas.errors import BadInput, Reason, Unavailable
from ..streams.config import load_config
from .counting import counted
from .dead_letter_topic import Found, Scan, on_kafka, origin_of, replay_all, scan

__all__ = ["SHOWN_BYTES", "as_json_", "command", "text_of"]

SHOWN_BYTES = 4_096
_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

with_config = click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
REASONS = click.Choice([reason.value for reason in Reason])


@click.group()
def command() -> None:
    """List, show and replay what could not be counted.

    ORIGIN is topic/partition/offset/index: the place of the event among the raw usage, as `list` prints it.
    """


@command.command("list")
@with_config
@click.option("--reason", type=REASONS, metavar="REASON", help=f"Only these: {', '.join(REASONS.choices)}.")
@click.option("--topic", help="Only from this topic.")
@click.option("--since", metavar="TIME", help="Only rejected since then: 2026-01-31, 2026-01-31T12:00:00Z, or 90m, 24h, 7d ago.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="Show the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: str | None, reason: str | None, topic: str | None, since: str | None, limit: int, as_json: bool) -> None:
    """List the newest dead letters, and how many there are of each reason."""
    earliest = 0 if since is None else parse_since(since, datetime.now(UTC))
    config = load_config(path)

    def wanted(letter: DeadLetter) -> bool:
        return (reason is None or letter.reason == reason) and (topic is None or letter.topic == topic) and letter.rejected_at >= earliest

    found = on_kafka(config, lambda: scan(config, wanted, newest=limit))
    if as_json:
        letters = [as_json_(each) for each in found.letters]
        click.echo(json.dumps({"letters": letters, "matched": found.matched, "by_reason": dict(found.reasons)}, ensure_ascii=False, indent=1))
        return
    click.echo("\n".join(listing(found, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)))


@command.command()
@with_config
@click.argument("origin")
@click.option("--raw", is_flag=True, help="Write the raw bytes, and nothing else, to standard output.")
def show(path: str | None, origin: str, raw: bool) -> None:
    """Show a dead letter: why, whence, its headers and its raw bytes."""
    parse_origin(origin)
    config = load_config(path)
    letters = on_kafka(config, lambda: scan(config, lambda letter: origin_of(letter) == origin, newest=20, cut_to=VALUE_LIMIT)).letters
    if not letters:
        raise unknown([origin])
    if raw:
        if len(letters) > 1:
            click.echo(f"{len(letters)} dead letters have this origin; these are the bytes of the newest", err=True)
        sys.stdout.buffer.write(letters[-1].letter.value or b"")
        sys.stdout.buffer.flush()
        return
    for found in letters:
        click.echo("\n".join(in_full(found)))


@command.command()
@with_config
@click.argument("origins", nargs=-1, metavar="[ORIGIN]...")
@click.option("--reason", type=REASONS, metavar="REASON", help="All dead letters with this reason.")
@click.option("--all", "every", is_flag=True, help="All dead letters.")
@click.option("--backfill", metavar="NAME", help="Declare them a backfill of this name: events older than max_event_age_s then count too.")
@click.option("--again", is_flag=True, help="Those too that were replayed before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(path: str | None, origins: Sequence[str], reason: str | None, every: bool, backfill: str | None, again: bool, yes: bool) -> None:
    """Publish dead letters once more to the topic they came from.

    Siblings in the same record that counted before are recognised as duplicates. What fails again becomes a new dead letter.
    A line item that Elasticsearch refused is written to Elasticsearch, not to Kafka: an older revision could hide a newer one.
    """
    if (bool(origins) + (reason is not None) + every) != 1:
        raise click.UsageError("give one of ORIGIN…, --reason REASON or --all")
    if backfill is not None and not backfill.strip():
        raise click.UsageError("--backfill needs a name")
    for origin in origins:
        parse_origin(origin)
    config, asked = load_config(path), set(origins)

    def wanted(letter: DeadLetter) -> bool:
        return origin_of(letter) in asked if asked else reason is None or letter.reason == reason

    found = on_kafka(config, lambda: scan(config, wanted, every=True))
    if missing := asked - set(found.origins.values()):
        raise unknown(sorted(missing))
    chosen = set(found.origins) if again else set(found.origins) - found.replayed
    if len(chosen) < len(found.origins):
        click.echo(f"{len(found.origins) - len(chosen)} were replayed before and are left out (--again takes them too)")
    if not chosen:
        click.echo("nothing to replay")
        return
    if found.reasons[Reason.TOO_OLD.value] and not backfill:
        click.echo("what is too old will be rejected again; --backfill NAME lets it count")
    if not asked and not yes:
        click.confirm(f"Replay {counted(len(chosen), 'dead letter')}?", abort=True)
    done = on_kafka(config, lambda: replay_all(config, chosen, found.holders, backfill or "", again))
    click.echo(f"replayed {done['replayed']}; what fails again becomes a new dead letter: ratemill dead-letters list --since 5m")
    if done["elsewhere"]:
        click.echo(f"{done['elsewhere']} left out: this configuration does not read the topics they came from (kafka.raw_topics)", err=True)
    if done["cut"]:
        click.echo(f"{done['cut']} left out: their bytes are not kept whole, or no more; publish the usage anew, in smaller records", err=True)
    if done["refused"]:
        raise Unavailable(f"{done['refused']} line items were refused by Elasticsearch again; see docs/operations.md on bad_line_item")


def parse_origin(text: str) -> tuple[str, int, int, int]:
    """Inverse of `origin_of`. Raises BadInput."""
    match = re.fullmatch(r"([a-zA-Z0-9._-]+)/([0-9]{1,9})/([0-9]{1,19})/(-1|[0-9]{1,9})", text)
    if match is None:
        raise BadInput(f"{printable(text)[:100]!r} is no origin; write topic/partition/offset/index as `ratemill dead-letters list` prints it")
    return match[1], int(match[2]), int(match[3]), int(match[4])


def unknown(origins: Sequence[str]) -> BadInput:
    """The error for origins without a dead letter."""
    more = f" and {len(origins) - 1} more" if len(origins) > 1 else ""
    return BadInput(f"no dead letter has the origin {origins[0]}{more}; `ratemill dead-letters list` shows those there are")


def parse_since(text: str, now: datetime) -> int:
    """Nanoseconds since 1970 of a time, a day, or a span before `now`. Raises BadInput."""
    if span := _SPAN.fullmatch(text):
        return int(now.timestamp()) * 10**9 - int(span[1]) * _SECONDS[span[2]] * 10**9
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--since {text[:40]!r}: write 2026-01-31, 2026-01-31T12:00:00Z, or 90m, 24h, 7d for so long ago") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9


def printable(text: str, keep: str = "") -> str:
    """Foreign text for the terminal, without control characters except those in `keep`."""
    return "".join(character if character.isprintable() or character in keep else "\ufffd" for character in text)


def time_text(ns: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def listing(found: Scan, width: int | None) -> list[str]:
    """One line for each letter, or two where `width` (None: a pipe) is small. An origin is there to be copied: it is never cut."""
    if not found.letters:
        return ["no dead letters" + (f" ({found.foreign} records of the topic are none)" if found.foreign else "")]
    counts = ", ".join(f"{count:,} {reason}" for reason, count in found.reasons.most_common())
    lines = textwrap.wrap(f"{counted(found.matched, 'dead letter')}: {counts}", width or 10_000)
    if found.matched > len(found.letters):
        lines.append(f"the newest {len(found.letters)}; --limit shows more")
    widest = max(len(origin_of(each.letter)) for each in found.letters), max(len(each.letter.reason) for each in found.letters)
    for each in found.letters:
        head = f"{time_text(each.letter.rejected_at)}  {origin_of(each.letter):<{widest[0]}}  {each.letter.reason.value:<{widest[1]}}"
        tail = ("replayed: " if each.replayed else "") + printable(each.letter.detail)
        if width is None:
            lines.append(f"{head}  {tail}")
        elif len(head) + 42 <= width:
            lines.append(f"{head}  {cut(tail, width - len(head) - 2)}")
        else:
            lines += [f"{origin_of(each.letter)}  {each.letter.reason.value}", f"    {cut(tail, width - 4)}"]
    return lines


def cut(text: str, width: int) -> str:
    """At most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def as_json_(found: Found) -> dict[str, Any]:
    """One letter of `list --json`."""
    letter = found.letter
    return {
        "origin": origin_of(letter),
        "reason": letter.reason.value,
        "detail": letter.detail,
        "rejected_at": time_text(letter.rejected_at).replace(" ", "T") + "Z",
        "bytes": found.size,
        "key": None if letter.key is None else letter.key.decode(errors="replace"),
        "replayed": found.replayed,
    }


def in_full(found: Found) -> list[str]:
    """What `show` prints of one letter."""
    letter = found.letter
    lines = [
        f"origin      {origin_of(letter)}",
        f"reason      {letter.reason.value}",
        f"detail      {printable(letter.detail)}",
        f"rejected    {time_text(letter.rejected_at)} UTC" + ("; replayed since" if found.replayed else ""),
        f"key         {'none' if letter.key is None else printable(letter.key.decode(errors='replace'))}",
        *(f"header      {printable(name)}: {printable((value or b'').decode(errors='replace'))}" for name, value in letter.headers),
    ]
    if letter.value is None:
        return [*lines, "value       null"]
    if letter.cut:
        lines.append(f"record      {letter.cut:,} bytes: larger than any that can count, so only the first bytes of its value are kept")
    cut = "" if len(letter.value) <= SHOWN_BYTES else f", the first {SHOWN_BYTES:,} of them here; --raw writes all"
    return [*lines, f"value       {len(letter.value):,} bytes{cut}", *shown_bytes(letter.value[:SHOWN_BYTES])]


def text_of(value: bytes) -> str | None:
    """Bytes as text, without a character that a cut went through; None when they are none that can be printed."""
    for end in range(len(value), max(len(value) - 4, 0), -1):
        try:
            text = value[:end].decode()
        except UnicodeDecodeError:
            continue
        return text if all(character.isprintable() or character in "\n\r\t" for character in text) else None
    return None if value else ""


def shown_bytes(value: bytes) -> list[str]:
    """Bytes as text where they are text, else as a hex dump."""
    if (text := text_of(value)) is not None:
        return printable(text, keep="\n\t").splitlines()
    return [
        f"{at:08x}  {value[at : at + 16].hex(' '):<47}  {''.join(chr(b) if 32 <= b < 127 else '.' for b in value[at : at + 16])}"
        for at in range(0, len(value), 16)
    ]
