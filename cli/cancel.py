"""`ratemill cancel`: one event of the log no longer counts."""

from __future__ import annotations

import click
from rich.console import Console

from ..schemas.control import Amend
from ..schemas.errors import BadInput
from .amend import event_options, known_event, show
from .corrections import Options, new_request, record_and_wait, request_options, time_text
from .dead_letters import printable

__all__ = ["command"]


@click.command("cancel")
@event_options
@request_options
def command(
    account: str, source: str, event_id: str, since: str | None, path: str | None, author: str, reason: str, yes: bool, timeout: int, as_json: bool
) -> None:
    """Let an event that was counted count no longer.

    In an open month the line items are restated, in a closed one the difference becomes a correction in the open month. The event
    stays in the log, and its identity remains taken: publishing it again changes nothing. To put something else in its place use
    `ratemill amend`, which also brings a cancelled event back.

    \b
      ratemill cancel --account acct-1 --source collector-3 --id e-17 --reason "test traffic"
    """
    options = Options(path, author, reason, yes, timeout, as_json)
    known = known_event(options, account, source, event_id, since)
    if (before := known.amended) is not None and known.now is None:
        raise BadInput(printable(f"it is cancelled: by {before.author} on {time_text(before.at_ns)} UTC ({before.reason}), request {before.id[:8]}"))
    request = new_request(Amend, options, original=known.original, origin=known.origin, replacement=None)
    show(known, None, Console(stderr=as_json))
    record_and_wait(options, request, "Cancel it?")
