"""`ratemill rerate`: rate again what is there."""

from __future__ import annotations

import click

from ..schemas.control import Rerate
from .corrections import Options, description, new_request, record_and_wait, request_options
from .dead_letters import printable

__all__ = ["command"]


@click.command("rerate")
@click.option("--account", default="", metavar="ID", help="Only this account.")
@click.option("--sku", default="", metavar="SKU", help="Only this SKU.")
@click.option("--period", default="", metavar="YYYY-MM", help="Only this billing month.")
@request_options
def command(account: str, sku: str, period: str, path: str | None, author: str, reason: str, yes: bool, timeout: int, as_json: bool) -> None:
    """Compute line items again from the usage that was counted and the price book in force.

    Every line item of the open month that is asked for is written once more, with a new revision, whether it comes out the same or
    not; so are the corrections of closed months. Line items of closed months stay. A new price book needs no rerate: it is taken over
    by itself. This is for when what was written is in doubt, such as after a defect was mended, or when a reader has lost it.

    \b
      ratemill rerate --account acct-1 --period 2026-06 --reason "check after ticket 123"
    """
    options = Options(path, author, reason, yes, timeout, as_json)
    request = new_request(Rerate, options, account=account, sku=sku, period=period)
    record_and_wait(options, request, printable(f"{description(request).capitalize()}?"))
