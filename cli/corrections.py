"""What the commands that change what counts have in common: who asks and why, the log, the receipts, and how they are told.

A request is put into the topic `ratemill.control`, where it stays; every partition concerned applies it and answers with a
receipt. So a command that is interrupted while it waits has lost nothing: `ratemill control list` shows what came of it.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..pricing.money import plain
from ..schemas.control import Amend, BackfillClose, BackfillOpen, BackfillRevert, Close, Receipt, Request, Rerate
from ..schemas.errors import BadInput, Rejection, Unavailable
from ..schemas.times import format_time, parse_time
from ..schemas.usage_event import UsageEvent
from ..streams.config import Config, load_config
from ..streams.control_topic import partitions_concerned, publish_control, wait_for_receipts
from .author import author_option
from .dead_letter_topic import on_kafka
from .dead_letters import printable

__all__ = [
    "Options",
    "bar",
    "description",
    "event_json",
    "moment",
    "new_request",
    "outcome_lines",
    "record_and_wait",
    "request_json",
    "request_now",
    "request_options",
    "wait_and_tell",
    "with_config",
    "with_json",
    "with_timeout",
]

TIMEOUT_S = 120
Kind = TypeVar("Kind", bound=Request)
Command = TypeVar("Command", bound=Callable[..., Any])

with_config = click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
with_json = click.option("--json", "as_json", is_flag=True, help="Print the request and its receipts as JSON.")
with_timeout = click.option(
    "--timeout", default=TIMEOUT_S, show_default=True, type=click.IntRange(min=0), metavar="SECONDS",
    help="How long to wait until every partition has answered; 0: do not wait.",
)  # fmt: skip
_with_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_with_reason = click.option("--reason", required=True, metavar="TEXT", help="Why: kept in the log, for whoever asks later.")
_with_author = author_option("Who asks for it.")


class Options:
    """Options that all requests have: who, why, and how to wait."""

    def __init__(self, path: str | None, author: str, reason: str, yes: bool, timeout: int, as_json: bool) -> None:
        if not author.strip() or not reason.strip():
            raise click.UsageError("--author and --reason must say something: they are kept in the log")
        self.author, self.reason, self.yes, self.timeout, self.as_json = author.strip(), reason.strip(), yes, timeout, as_json
        self.config: Config = load_config(path)
        # What the control topic holds that is no control record is a warning beside the output, never within it.
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def request_options(command: Command) -> Command:
    """The options of every command that puts a request into the log, for `Options(path, author, reason, yes, timeout, as_json)`."""
    for option in (with_config, with_json, with_timeout, _with_yes, _with_author, _with_reason):
        command = option(command)
    return command


def new_request(kind: type[Kind], options: Options, **fields: Any) -> Kind:
    """A request of this kind, made now. Raises BadInput."""
    return request_now(kind, options.author, options.reason, **fields)


def request_now(kind: type[Kind], author: str, reason: str, **fields: Any) -> Kind:
    """The same, of whoever it is that asks. Raises BadInput."""
    try:
        return kind(id=uuid.uuid4().hex, author=author, reason=reason, at_ns=time.time_ns(), **fields)
    except ValueError as error:
        raise BadInput(printable(f"{error}; nothing was recorded")) from error


def record_and_wait(options: Options, request: Request, question: str) -> None:
    """Ask, put the request into the log, and tell what came of it. Exits with status 1 when a partition refused it."""
    if not options.yes:
        click.confirm(question, abort=True, err=options.as_json)
    on_kafka(options.config, lambda: publish_control(options.config, request))
    if not options.as_json:
        click.echo(f"recorded as {request.id}")
    wait_and_tell(options.config, request, options.timeout, options.as_json)


def wait_and_tell(config: Config, request: Request, timeout_s: int, as_json: bool) -> None:
    """Wait for the receipts of a request that is in the log, and print them. Raises Unavailable when some do not come in time."""
    concerned = partitions_concerned(config, request)
    receipts: dict[int, Receipt] = {}
    if timeout_s:
        with bar("waiting for partitions", len(concerned)) as tell:

            def came(found: Mapping[int, Receipt]) -> None:
                tell(len(found), len(concerned))

            receipts = on_kafka(config, lambda: wait_for_receipts(config, request.id, concerned, timeout_s, came))
    if as_json:
        click.echo(json.dumps(request_json(request, receipts, concerned), ensure_ascii=False, indent=1))
    else:
        for line in outcome_lines(receipts, concerned) if receipts else []:
            click.echo(line)
    waiting = [number for number in concerned if number not in receipts]
    if waiting and timeout_s:
        raise Unavailable(
            f"{_partitions(waiting)} did not answer within {timeout_s} s; is a worker with the agent `rate` running? (`ratemill doctor`) "
            f"The request stays in the log and takes effect when one is: `ratemill control wait {request.id[:8]}`"
        )
    if waiting and not as_json:
        click.echo(f"see what came of it: ratemill control show {request.id[:8]}")
    if any(not receipt.applied for receipt in receipts.values()):
        sys.exit(1)


# -- in words ------------------------------------------------------------------------------------------------------------


def description(request: Request) -> str:
    """What is asked for, in a few words."""
    match request:
        case Close():
            return f"close {request.period} and before"
        case Amend():
            event = request.original
            what = "cancel" if request.replacement is None else "amend"
            changes = "" if request.replacement is None else ": " + ", ".join(changes_in_words(event, request.replacement))
            return f"{what} {event.id} of {event.account} from {event.source}{changes}"
        case BackfillOpen():
            return f"open backfill {request.name}: {format_time(request.from_ns)} to {format_time(request.to_ns)}"
        case BackfillClose():
            return f"close backfill {request.name}"
        case BackfillRevert():
            return f"revert backfill {request.name}"
        case Rerate():
            parts = [f"{name} {value}" for name in ("account", "sku", "period") if (value := getattr(request, name))]
            return "rerate " + (", ".join(parts) or "everything")


SHOWN_FIELDS = ("sku", "time", "quantity", "unit", "region", "resource", "dimensions")


def shown_field(event: UsageEvent, name: str) -> str:
    """A field of an event as a person writes it."""
    value = getattr(event, name)
    return format_time(value) if name == "time" else plain(value) if name == "quantity" else str(value)


def changes_in_words(old: UsageEvent, new: UsageEvent) -> list[str]:
    """`quantity 5 -> 3` for each field that differs."""
    pairs = [(name, shown_field(old, name), shown_field(new, name)) for name in SHOWN_FIELDS]
    return [f"{name} {before or 'none'} → {after or 'none'}" for name, before, after in pairs if before != after] or ["as it was"]


def outcome_lines(receipts: Mapping[int, Receipt], concerned: Sequence[int]) -> list[str]:
    """What came of a request: partitions that answered alike are one line, with their counts added up."""
    alike: dict[tuple[bool, str], list[int]] = {}
    for number, receipt in sorted(receipts.items()):
        alike.setdefault((receipt.applied, receipt.outcome), []).append(number)
    lines = []
    for (applied, outcome), numbers in alike.items():
        counts: dict[str, int] = {}
        for number in numbers:
            for name, count in receipts[number].counts.items():
                counts[name] = counts.get(name, 0) + count
        told = ", ".join(f"{count:,} {(name.removesuffix('s') if count == 1 else name).replace('_', ' ')}" for name, count in counts.items())
        where = f"all {len(numbers)} partitions" if len(numbers) == len(concerned) > 1 else _partitions(numbers)
        lines.append(printable(f"{where}: {'' if applied else 'refused: '}{outcome}" + (f" ({told})" if told else "")))
    if waiting := [number for number in concerned if number not in receipts]:
        lines.append(f"{_partitions(waiting)}: no answer yet")
    return lines


def _partitions(numbers: Collection[int]) -> str:
    """`partition 3`, `partitions 0-2, 5`."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    text = ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)
    return f"partition{'s' if len(numbers) > 1 else ''} {text}"


# -- as JSON -------------------------------------------------------------------------------------------------------------


def request_json(request: Request, receipts: Mapping[int, Receipt], concerned: Sequence[int]) -> dict[str, Any]:
    """A request and what came of it, for scripts; times are texts, quantities decimal strings."""
    said: dict[str, Any] = {"id": request.id, "request": request.__struct_config__.tag}
    for name in request.__struct_fields__:
        value = getattr(request, name)
        if name == "id":
            continue
        if isinstance(value, UsageEvent):
            value = event_json(value)
        said[name.removesuffix("_ns")] = format_time(value) if name.endswith("_ns") else str(value) if name == "origin" else value
    answered = [
        {"partition": number, "applied": r.applied, "outcome": r.outcome, "counts": r.counts, "next_offsets": r.next_offsets, "book": r.book,
         "revision": r.revision, "at": format_time(r.at_ns)}
        for number, r in sorted(receipts.items())
    ]  # fmt: skip
    return {**said, "receipts": answered, "waiting": [number for number in concerned if number not in receipts]}


def event_json(event: UsageEvent) -> dict[str, Any]:
    """An event as JSON; fields without a value are left out."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    said: dict[str, Any] = {name: value for name, value in fields.items() if value != ""}
    said |= {"time": format_time(event.time), "quantity": plain(event.quantity)}
    return said | {name: json.loads(said[name]) for name in ("dimensions", "tags") if name in said}


# -- reading and waiting -------------------------------------------------------------------------------------------------


def moment(text: str, option: str) -> int:
    """Nanoseconds since 1970 of a day (`2026-01-31`, its start in UTC) or a time with a zone. Raises BadInput."""
    try:
        return parse_time(f"{text}T00:00:00Z" if len(text) == len("2026-01-31") else text)
    except Rejection as rejection:
        raise BadInput(f"{option}: {printable(rejection.detail)}") from rejection


def time_text(ns: int) -> str:
    """UTC, to the minute: what a table has room for."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M")


@contextmanager
def bar(what: str, total: int = 0) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error where somebody watches; yields what to call with (done, total)."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        task = shown.add_task("", total=total or None)
        yield lambda done, of: shown.update(task, completed=done, total=of)
