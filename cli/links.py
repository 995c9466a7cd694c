"""`ratemill links`: the secret that signs links for embedded views."""

from __future__ import annotations

import click

from ..api.signed_links import KEPT_S, Links
from ..api.tokens import Tokens
from ..store.database import open_database
from ..streams.config import load_config
from .corrections import with_config

__all__ = ["command"]


@click.group()
def command() -> None:
    """Change the secret that signs links for embedded views (POST /v1/links makes those)."""


@command.command()
@with_config
@click.option("--at-once", is_flag=True, help="Links that were made before end now: after a leak.")
def rotate(path: str | None, at_once: bool) -> None:
    """Sign with a new secret from now on. Links that the old one signed stay valid until each of them ends, unless --at-once."""
    engine = open_database(load_config(path).api.database.get_secret_value())
    id = Links(engine, Tokens(engine)).rotate(at_once)
    old = "all older links have ended" if at_once else f"older ones are kept until their links have ended, {KEPT_S // 3_600} hours at most"
    click.echo(f"links are signed with secret {id} from now on; {old}")
