"""`ratemill control`: what was asked of the rating engine, by whom, why, and what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..schemas.control import Amend, Request
from ..schemas.errors import BadInput
from ..schemas.times import format_time
from ..streams.config import Config, load_config
from ..streams.control_topic import Controls, load_controls, partitions_concerned
from .amend import Known, show
from .corrections import description, outcome_lines, request_json, time_text, wait_and_tell, with_config, with_json, with_timeout
from .dead_letter_topic import on_kafka
from .dead_letters import printable

__all__ = ["command", "listing", "outcome", "request_of"]

LEAST_PREFIX = 4


@click.group()
def command() -> None:
    """List and show requests: closes, amendments, backfills, reratings.

    They are made by `ratemill close`, `amend`, `cancel`, `backfill` and `rerate`, and stay in the log for good. A line item that
    came of one names it in x_Cause, as control:ID.
    """


@command.command("list")
@with_config
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="Show the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: str | None, limit: int, as_json: bool) -> None:
    """List the newest requests, oldest first, and what came of each."""
    config, controls = _load(path)
    requests = [request for _, request in controls.requests]
    if as_json:
        said = [request_json(each, controls.receipts(each.id), partitions_concerned(config, each)) for each in requests[-limit:]]
        click.echo(json.dumps({"total": len(requests), "requests": said}, ensure_ascii=False, indent=1))
        return
    if not requests:
        click.echo("no requests")
        return
    # A pipe gets whole lines, a terminal a table that fits it.
    Console(width=None if sys.stdout.isatty() else 400).print(listing(controls, config, requests[-limit:]))
    if len(requests) > limit:
        click.echo(f"the newest {limit} of {len(requests):,}; --limit shows more")


@command.command("show")
@click.argument("request_id", metavar="ID")
@with_config
@with_json
def show_(request_id: str, path: str | None, as_json: bool) -> None:
    """Show a request and the receipt of every partition. ID: as listed; the first digits are enough."""
    config, controls = _load(path)
    request = request_of(controls, request_id)
    receipts, concerned = controls.receipts(request.id), partitions_concerned(config, request)
    if as_json:
        click.echo(json.dumps(request_json(request, receipts, concerned), ensure_ascii=False, indent=1))
        return
    click.echo(f"request    {request.id}")
    click.echo(printable(f"asked for  {description(request)}"))
    click.echo(printable(f"by         {request.author} on {format_time(request.at_ns)}"))
    click.echo(printable(f"because    {request.reason}"))
    if isinstance(request, Amend):
        show(Known(request.original, request.origin, request.original), request.replacement, Console())
    for line in outcome_lines(receipts, concerned):
        click.echo(line)
    for number, receipt in receipts.items():
        offsets = ", ".join(f"{topic} {offset:,}" for topic, offset in sorted(receipt.next_offsets.items()))
        click.echo(printable(f"partition {number}: at {format_time(receipt.at_ns)}, revision {receipt.revision}, before {offsets or 'any usage'}"))


@command.command()
@click.argument("request_id", metavar="ID")
@with_config
@with_timeout
@with_json
def wait(request_id: str, path: str | None, timeout: int, as_json: bool) -> None:
    """Wait until every partition concerned has answered a request."""
    config, controls = _load(path)
    wait_and_tell(config, request_of(controls, request_id), timeout, as_json)


def _load(path: str | None) -> tuple[Config, Controls]:
    config = load_config(path)
    return config, on_kafka(config, lambda: load_controls(config))


def request_of(controls: Controls, text: str) -> Request:
    """The request whose id begins so. Raises BadInput."""
    digits = text.removeprefix("control:").lower()
    found = [request for _, request in controls.requests if request.id.startswith(digits)] if len(digits) >= LEAST_PREFIX else []
    if len(found) != 1:
        why = f"at least {LEAST_PREFIX} digits of an id" if len(digits) < LEAST_PREFIX else "no request has" if not found else f"{len(found)} have"
        advice = "are needed" if len(digits) < LEAST_PREFIX else f"an id that begins with {printable(digits)[:40]!r}"
        raise BadInput(f"{why} {advice}; `ratemill control list` shows them")
    return found[0]


def outcome(controls: Controls, config: Config, request: Request) -> str:
    """What came of a request, for a cell of a table."""
    receipts, concerned = controls.receipts(request.id), partitions_concerned(config, request)
    if not receipts:
        return "waits for a worker"
    lines = outcome_lines(receipts, concerned)
    return "\n".join(line.partition(": ")[2] if len(lines) == 1 else line for line in lines)


def listing(controls: Controls, config: Config, requests: Sequence[Request]) -> Table:
    """Requests as a table; long texts are folded, never cut."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Id", no_wrap=True, min_width=8)
    for title in ("At (UTC)", "Request", "By", "Reason", "Outcome"):
        table.add_column(title, overflow="fold")
    for each in requests:
        cells = (each.id[:8], time_text(each.at_ns), description(each), each.author, each.reason)
        table.add_row(*(Text(printable(cell)) for cell in cells), Text(printable(outcome(controls, config, each), keep="\n")))
    return table
