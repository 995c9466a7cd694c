"""`ratemill close`: after this, late usage of a month no longer restates it."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from ..schemas.control import Close, month_number, month_text
from ..schemas.errors import BadInput
from ..streams.control_topic import Controls, load_controls
from .corrections import Options, new_request, record_and_wait, request_options, time_text, wait_and_tell
from .dead_letter_topic import on_kafka
from .dead_letters import printable

__all__ = ["closed_before", "command", "month_to_close"]


@click.command("close")
@click.argument("period", metavar="PERIOD")
@request_options
@click.option("--early", is_flag=True, help="Close the current month although it has not ended; the rest of its usage becomes corrections.")
def command(period: str, path: str | None, author: str, reason: str, yes: bool, timeout: int, as_json: bool, early: bool) -> None:
    """Close the billing month PERIOD (YYYY-MM), and with it every month before it.

    Before a close, late usage restates the line items of its month. After it they stay as they are for good, so that they can be
    invoiced: usage that still comes for a closed month, a cancelled or amended event, a new price, all become line items of
    ChargeClass Correction in the open month, each naming the month that it corrects. A close cannot be taken back.

    \b
    Collectors that deliver late set the date: close some days after the end of the month.
      ratemill close 2026-06 --reason "invoice run of June"
    """
    month = month_to_close(period, datetime.now(UTC), early)
    options = Options(path, author, reason, yes, timeout, as_json)
    controls = on_kafka(options.config, lambda: load_controls(options.config))
    if (known := closed_before(controls, month)) is not None:
        click.echo(
            printable(f"{period} is closed: {known.author} closed {known.period} and before on {time_text(known.at_ns)} UTC ({known.reason})"),
            err=as_json,
        )
        wait_and_tell(options.config, known, timeout, as_json)
        return
    request = new_request(Close, options, period=period)
    record_and_wait(options, request, f"Close {period} and every month before it, for all accounts? This cannot be taken back.")


def month_to_close(period: str, now: datetime, early: bool, how_early: str = "--early") -> int:
    """The month, as `month_number`, if it may be closed now. how_early: how to insist. Raises BadInput."""
    try:
        month = month_number(period)
    except ValueError as error:
        raise BadInput(printable(str(error))) from error
    current = 12 * now.year + now.month - 1
    if month > current:
        raise BadInput(f"{period} has not begun; months up to {month_text(current - 1)} can be closed")
    if month == current and not early:
        raise BadInput(f"{period} has not ended (in UTC); close {month_text(current - 1)}, or say {how_early} if you mean it")
    return month


def closed_before(controls: Controls, month: int) -> Close | None:
    """The first request in the log that closes this month, unless every partition that answered refused it."""
    for _, request in controls.requests:
        if isinstance(request, Close) and request.month >= month:
            receipts = controls.receipts(request.id).values()
            if not receipts or any(receipt.applied for receipt in receipts):
                return request
    return None
