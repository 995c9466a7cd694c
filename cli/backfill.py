"""`ratemill backfill`: old usage that is published on purpose, declared, and taken back as a whole if it was wrong."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..schemas.control import BackfillClose, BackfillOpen, BackfillRevert
from ..schemas.errors import BadInput
from ..schemas.times import format_time
from ..streams.config import load_config
from ..streams.control_topic import Controls, load_controls, partitions_concerned
from .corrections import Options, moment, new_request, outcome_lines, record_and_wait, request_options, time_text, with_config
from .dead_letter_topic import on_kafka
from .dead_letters import printable

__all__ = ["Backfill", "backfills", "command"]


class Backfill(NamedTuple):
    """What the log says of a backfill."""

    opened: BackfillOpen
    closed: BackfillClose | None = None
    reverted: BackfillRevert | None = None

    @property
    def state(self) -> str:
        """open, closed or reverted."""
        return "reverted" if self.reverted else "closed" if self.closed else "open"


def backfills(controls: Controls) -> dict[str, Backfill]:
    """All backfills, by name, in the order in which they were opened first. Requests that were refused everywhere are left out."""
    found: dict[str, Backfill] = {}
    for _, request in controls.requests:
        receipts = controls.receipts(request.id).values()
        if receipts and not any(receipt.applied for receipt in receipts):
            continue
        match request:
            case BackfillOpen():
                found[request.name] = Backfill(request)
            case BackfillClose() if request.name in found:
                found[request.name] = found[request.name]._replace(closed=request)
            case BackfillRevert() if request.name in found:
                found[request.name] = found[request.name]._replace(reverted=request)
    return found


@click.group()
def command() -> None:
    """Open, close, revert and list backfills: old usage that is published on purpose.

    \b
      ratemill backfill open june-gap --from 2026-06-03 --to 2026-06-05 --reason "collector was down"
      ratemill publish gap.ndjson --backfill june-gap
      ratemill backfill close june-gap --reason "all is there"
      ratemill backfill revert june-gap --reason "was counted already, under other ids"
    """


@command.command("open")
@click.argument("name")
@click.option("--from", "from_", required=True, metavar="TIME", help="First event time: 2026-06-03 or 2026-06-03T12:00:00Z.")
@click.option("--to", required=True, metavar="TIME", help="End of the event times; itself not included.")
@request_options
def open_(name: str, from_: str, to: str, path: str | None, author: str, reason: str, yes: bool, timeout: int, as_json: bool) -> None:
    """Declare the backfill NAME: events published under it count whatever their age, if their times lie between --from and --to."""
    bounds = moment(from_, "--from"), moment(to, "--to")
    options = Options(path, author, reason, yes, timeout, as_json)
    request = new_request(BackfillOpen, options, name=name, from_ns=bounds[0], to_ns=bounds[1])
    known = _known(options).get(name)
    if known is not None and known.state != "closed":
        advice = "choose another name: its events would be taken back with it" if known.reverted else "close it first, or go on with it"
        raise BadInput(printable(f"the backfill {name} is {known.state} ({_who(known)}); {advice}"))
    record_and_wait(
        options, request, f"Open the backfill {printable(name)} for event times from {format_time(bounds[0])} to {format_time(bounds[1])}?"
    )


@command.command()
@click.argument("name")
@request_options
def close(name: str, path: str | None, author: str, reason: str, yes: bool, timeout: int, as_json: bool) -> None:
    """Declare that the backfill NAME is complete. What comes under its name later is refused."""
    options = Options(path, author, reason, yes, timeout, as_json)
    known = _wanted(options, name)
    if known.state != "open":
        raise BadInput(printable(f"the backfill {name} is {known.state} already ({_who(known)})"))
    record_and_wait(options, new_request(BackfillClose, options, name=name), f"Close the backfill {printable(name)}?")


@command.command()
@click.argument("name")
@request_options
def revert(name: str, path: str | None, author: str, reason: str, yes: bool, timeout: int, as_json: bool) -> None:
    """Take the backfill NAME back: none of its events counts any longer.

    Open months are restated; for closed ones the difference becomes a correction in the open month. The events stay in the log.
    """
    options = Options(path, author, reason, yes, timeout, as_json)
    known = _wanted(options, name)
    if known.reverted:
        raise BadInput(printable(f"the backfill {name} is reverted already ({_who(known)})"))
    record_and_wait(options, new_request(BackfillRevert, options, name=name), f"Take back every event of the backfill {printable(name)}?")


@command.command("list")
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: str | None, as_json: bool) -> None:
    """List the backfills, their event times, and what they came to."""
    config = load_config(path)
    controls = on_kafka(config, lambda: load_controls(config))
    found = backfills(controls)
    if as_json:
        click.echo(json.dumps({"backfills": [as_json_(each) for each in found.values()]}, ensure_ascii=False, indent=1))
        return
    if not found:
        click.echo("no backfills")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("Name", "From", "To", "State", "Since", "By", "Reason"):
        table.add_column(title, overflow="fold")
    for each in found.values():
        last = each.reverted or each.closed or each.opened
        cells = (each.opened.name, _day(each.opened.from_ns), _day(each.opened.to_ns), each.state, time_text(last.at_ns), last.author, last.reason)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console = Console()
    console.print(table)
    for each in found.values():
        for request in (each.closed, each.reverted):
            if request is not None and (receipts := controls.receipts(request.id)):
                for line in outcome_lines(receipts, partitions_concerned(config, request)):
                    console.print(Text(printable(f"{each.opened.name}: {line}")))


def as_json_(backfill: Backfill) -> dict[str, Any]:
    """One backfill of `list --json`."""
    opened = backfill.opened
    said: dict[str, Any] = {"name": opened.name, "state": backfill.state, "from": format_time(opened.from_ns), "to": format_time(opened.to_ns)}
    for what, request in (("opened", backfill.opened), ("closed", backfill.closed), ("reverted", backfill.reverted)):
        said[what] = request and {"id": request.id, "author": request.author, "reason": request.reason, "at": format_time(request.at_ns)}
    return said


def _known(options: Options) -> dict[str, Backfill]:
    return backfills(on_kafka(options.config, lambda: load_controls(options.config)))


def _wanted(options: Options, name: str) -> Backfill:
    known = _known(options)
    if name not in known:
        advice = "if events were published under the name all the same, open it first"
        raise BadInput(printable(f"no backfill {name!r} was opened; `ratemill backfill list` shows those there are; {advice}"))
    return known[name]


def _who(backfill: Backfill) -> str:
    last = backfill.reverted or backfill.closed or backfill.opened
    return f"by {last.author} on {time_text(last.at_ns)} UTC: {last.reason}"


def _day(ns: int) -> str:
    return format_time(ns).removesuffix("T00:00:00Z")
