"""`ratemill amend` and what it shares with `ratemill cancel`: one event of the log counts as another one, or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..schemas.acceptance import check_time
from ..schemas.control import Amend, BackfillRevert, Origin
from ..schemas.errors import BadInput, Rejection
from ..schemas.limits import DEFAULT_LIMITS
from ..schemas.quantity import parse_quantity
from ..schemas.usage_event import UsageEvent, canonical_map
from ..streams.control_topic import Controls, load_controls
from ..streams.find_events import find_event
from .corrections import (
    SHOWN_FIELDS,
    Options,
    bar,
    changes_in_words,
    moment,
    new_request,
    record_and_wait,
    request_options,
    shown_field,
    time_text,
)
from .dead_letter_topic import on_kafka
from .dead_letters import printable

__all__ = ["Known", "changed_event", "command", "event_options", "known_event", "known_from", "show"]

Command = TypeVar("Command", bound=Callable[..., Any])


def event_options(command: Command) -> Command:
    """The options that name an event."""
    for option in (
        click.option("--since", metavar="TIME", help="Search the log from here on: 2026-01-31 or 2026-01-31T12:00:00Z.  [default: all of it]"),
        click.option("--id", "event_id", required=True, metavar="ID", help="Id of the event."),
        click.option("--source", required=True, metavar="NAME", help="Source of the event."),
        click.option("--account", required=True, metavar="ID", help="Account of the event."),
    ):
        command = option(command)
    return command


@click.command("amend")
@event_options
@click.option("--quantity", metavar="NUMBER", help="What it should have said.")
@click.option("--time", "time_", metavar="TIME", help="With its zone: 2026-01-31T12:00:00Z.")
@click.option("--sku", metavar="SKU")
@click.option("--unit", metavar="UNIT")
@click.option("--region", metavar="NAME", help='"" takes it out; so with the next two.')
@click.option("--resource", metavar="NAME")
@click.option("--dimension", "dimensions", multiple=True, metavar="NAME=VALUE", help="Set one dimension; NAME= takes it out. Can be repeated.")
@request_options
def command(
    account: str, source: str, event_id: str, since: str | None, quantity: str | None, time_: str | None, sku: str | None, unit: str | None,
    region: str | None, resource: str | None, dimensions: tuple[str, ...], path: str | None, author: str, reason: str, yes: bool,
    timeout: int, as_json: bool,
) -> None:  # fmt: skip
    """Let an event that was counted count as something else: another quantity, time, SKU, unit, place or dimension.

    What is not named stays as it is now. In an open month the line items are restated, in a closed one the difference becomes a
    correction in the open month. The event itself stays in the log, and so does this amendment; amending again replaces it.

    \b
      ratemill amend --account acct-1 --source collector-3 --id e-17 --quantity 4.5 --reason "meter was read twice"
    """
    texts = {"sku": sku, "unit": unit, "region": region, "resource": resource}
    changes: dict[str, Any] = {name: value for name, value in texts.items() if value is not None}
    changes |= checked(quantity, time_)
    if not changes and not dimensions:
        raise click.UsageError("say what changes: --quantity, --time, --sku, --unit, --region, --resource or --dimension")
    options = Options(path, author, reason, yes, timeout, as_json)
    known = known_event(options, account, source, event_id, since)
    new = changed_event(known.now or known.original, changes, dimensions)
    if new == known.now:
        raise BadInput("nothing would change: the event counts like that already")
    request = new_request(Amend, options, original=known.original, origin=known.origin, replacement=new)
    show(known, new, Console(stderr=as_json))
    record_and_wait(options, request, "Amend it?")


class Known(NamedTuple):
    """An event as it came, and as it counts now."""

    original: UsageEvent
    origin: Origin
    now: UsageEvent | None  # None: it was cancelled
    amended: Amend | None = None  # what made it so
    reverted: BackfillRevert | None = None  # what took it back with its backfill


def known_event(options: Options, account: str, source: str, event_id: str, since: str | None) -> Known:
    """The event in the log, and what became of it since. Raises BadInput when it is not there."""
    since_ms = 0 if since is None else max(0, moment(since, "--since") // 1_000_000)
    config = options.config
    controls = on_kafka(config, lambda: load_controls(config))
    found = known_from(controls, account, source, event_id)
    if found is None:
        with bar("searching the log") as tell:
            event = on_kafka(config, lambda: find_event(config, account, source, event_id, since_ms=since_ms, progress=tell))
        found = Known(event.event, event.origin, event.event)
    return found._replace(reverted=_reverted(controls, found.original))


def known_from(controls: Controls, account: str, source: str, event_id: str) -> Known | None:
    """What earlier amendments say of an event: they hold it as it came, so that it need not be searched, even when the log forgot it."""
    for _, request in reversed(controls.requests):
        if isinstance(request, Amend):
            event = request.original
            refused = any(not receipt.applied for receipt in controls.receipts(request.id).values())
            if (event.account, event.source, event.id) == (account, source, event_id) and not refused:
                return Known(event, request.origin, request.replacement, request)
    return None


def _reverted(controls: Controls, event: UsageEvent) -> BackfillRevert | None:
    reverts = [request for _, request in controls.requests if isinstance(request, BackfillRevert) and request.name == event.backfill]
    return reverts[0] if reverts and event.backfill else None


def checked(quantity: str | None, time_text: str | None) -> dict[str, Any]:
    """Quantity and time as they are kept. Raises BadInput."""
    found: dict[str, Any] = {}
    if time_text is not None:
        found["time"] = moment(time_text, "--time")
    if quantity is not None:
        try:
            found["quantity"] = parse_quantity(quantity)
        except Rejection as rejection:
            raise BadInput(f"--quantity: {printable(rejection.detail)}") from rejection
    return found


def changed_event(event: UsageEvent, changes: dict[str, Any], dimensions: Sequence[str]) -> UsageEvent:
    """The event with these fields, and these dimensions (`name=value`, `name=` to take one out). Raises BadInput."""
    if dimensions:
        pairs: dict[str, str] = json.loads(event.dimensions) if event.dimensions else {}
        for text in dimensions:
            name, sign, value = text.partition("=")
            if not name or not sign:
                raise BadInput(f"--dimension {printable(text)[:60]!r}: write NAME=VALUE, or NAME= to take it out")
            if not value and name not in pairs:
                raise BadInput(f"--dimension {printable(text)[:60]!r}: the event has no dimension of this name")
            pairs[name] = value
            if not value:
                del pairs[name]
        changes = {**changes, "dimensions": canonical_map(pairs)}
    new = msgspec.structs.replace(event, **changes)
    # Of any age, as a backfill may be; the years and the clock bound it.
    if new.time != event.time and (rejection := check_time(msgspec.structs.replace(new, backfill="any"), time.time_ns(), DEFAULT_LIMITS, live=True)):
        raise BadInput(f"--time: {rejection.detail}")
    return new


def show(known: Known, new: UsageEvent | None, console: Console) -> None:
    """Print the event as it came, as it counts now if that differs, and as it will."""
    event = known.original
    console.print(Text(printable(f"event {event.id} of {event.account} from {event.source}, published as {known.origin}")))
    if (before := known.amended) is not None:
        what = "cancelled" if before.replacement is None else "amended"
        console.print(Text(printable(f"{what} by {before.author} on {time_text(before.at_ns)} UTC: {before.reason}")))
    if (revert := known.reverted) is not None:
        console.print(
            Text(printable(f"its backfill {revert.name} was reverted by {revert.author} on {time_text(revert.at_ns)} UTC: {revert.reason}"))
        )
    columns: list[tuple[str, UsageEvent | None]] = [("as it came", event)]
    if known.amended is not None:
        columns.append(("now", known.now))
    columns.append(("then", new))
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for title, _ in columns:
        table.add_column(title, overflow="fold")
    for name in SHOWN_FIELDS:
        cells = ["" if shown is None else printable(shown_field(shown, name)) for _, shown in columns]
        if any(cells):
            table.add_row(name, *(Text(cell) for cell in cells), style="bold" if len(set(cells)) > 1 else None)
    console.print(table)
    if new is None:
        console.print("then it counts no longer")
    else:
        console.print(Text(printable("changes: " + ", ".join(changes_in_words(known.now, new) if known.now else ["it counts again"]))))
