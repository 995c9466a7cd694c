"""`ratemill tokens`: make, list and revoke the keys of the HTTP API."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..api.tokens import SCOPES, TokenInfo, Tokens, token_id
from ..schemas.errors import BadInput
from ..schemas.times import NS, format_time
from ..store.database import open_database
from ..streams.config import load_config
from .corrections import time_text, with_config
from .dead_letters import printable

__all__ = ["command", "parse_lifetime"]

_SPAN = re.compile(r"([0-9]{1,6})([hdw])")
_SECONDS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}


@click.group()
def command() -> None:
    """Make, list and revoke the keys of the HTTP API.

    \b
      ratemill tokens create --name collector-7 --scope events:write --account acct-1 > token
      ratemill tokens list
      ratemill tokens revoke 4k2mzq7w3hxd
    """


@command.command()
@with_config
@click.option("--name", required=True, help="What it is for, as `list` shows it.")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), metavar="SCOPE", help=f"Any of {', '.join(SCOPES)}.")
@click.option("--account", help="The only account that it is for (default: an operator's token, for all of them).")
@click.option("--expires", default="90d", show_default=True, metavar="SPAN", help="When it ends: 12h, 90d or 26w from now; at most 366d.")
def create(path: str | None, name: str, scopes: Sequence[str], account: str | None, expires: str) -> None:
    """Make a token, and print it on standard output: once, for it is not stored.

    What is said about it goes to standard error, so that the token alone can be written to a file.
    """
    lifetime = parse_lifetime(expires)
    text, info = _tokens(path).create(name, scopes, account, lifetime)
    whom = "for all accounts" if account is None else f"for the account {account}"
    click.echo(printable(f"token {info.id} ({name}), {whom}, {', '.join(info.scopes)}, until {time_text(info.expires_at * NS)} UTC"), err=True)
    click.echo("keep it now: only its hash is stored, and it is not shown again", err=True)
    click.echo(text)


@command.command("list")
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: str | None, as_json: bool) -> None:
    """List all tokens, also those that are worth nothing any longer."""
    found, now = _tokens(path).list(), int(time.time())
    if as_json:
        click.echo(json.dumps({"tokens": [as_json_(each, now) for each in found]}, ensure_ascii=False, indent=1))
        return
    if not found:
        click.echo("no tokens")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    console = Console()
    # Where there is little room, names and accounts give way; where there is less, everything but the id, which is there to be copied.
    scope = max(len(scope) for each in found for scope in each.scopes)
    fixed = {"Id": 12} if console.width < 80 else {"Id": 12, "Scopes": scope, "Created": 10, "Expires": 10, "State": 7}
    for title in ("Id", "Name", "Account", "Scopes", "Created", "Expires", "State"):
        table.add_column(title, overflow="fold", width=fixed.get(title) if console.width < 120 or title == "Id" else None)
    for each in found:
        account = "(all)" if each.account is None else each.account
        times = time_text(each.created_at * NS).split()[0], time_text(each.expires_at * NS)
        cells = (each.id, each.name, account, " ".join(each.scopes), *times, each.state(now))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)


@command.command()
@with_config
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def revoke(path: str | None, ids: Sequence[str]) -> None:
    """Revoke tokens: from now on where this runs, and within 5 seconds in every server, they open nothing."""
    wanted = [token_id(each) for each in ids]
    tokens, missing = _tokens(path), []
    for each in dict.fromkeys(wanted):  # the others too when one is unknown: it may be urgent
        if tokens.revoke(each):
            click.echo(f"revoked {each}")
        else:
            missing.append(each)
    if missing:
        raise BadInput(f"no token has the id {', '.join(missing)}; `ratemill tokens list` shows those there are")


def parse_lifetime(text: str) -> int:
    """Seconds of a span such as 12h, 90d or 26w. Raises BadInput."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise BadInput(f"--expires {printable(text)[:40]!r}: write hours, days or weeks, such as 12h, 90d or 26w")
    return int(match[1]) * _SECONDS[match[2]]


def as_json_(token: TokenInfo, now: int) -> dict[str, Any]:
    """One token of `list --json`; `now` in seconds since 1970, UTC."""
    return {
        "id": token.id,
        "name": token.name,
        "account": token.account,
        "scopes": list(token.scopes),
        "created_at": format_time(token.created_at * NS),
        "expires_at": format_time(token.expires_at * NS),
        "revoked_at": None if token.revoked_at is None else format_time(token.revoked_at * NS),
        "state": token.state(now),
    }


def _tokens(path: str | None) -> Tokens:
    return Tokens(open_database(load_config(path).api.database.get_secret_value()))
