"""Who asks: an option of every command that leaves something on record."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from typing import Any

import click

__all__ = ["author_option", "user_name"]


def user_name() -> str:
    """The name of whoever runs this; empty where the system has none (in a container, $USER is often missing)."""
    try:
        return os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError):  # a number without a name; which of the two depends on the version of Python
        return ""


def author_option(help: str) -> Callable[[Any], Any]:
    """`--author NAME`; help: what the author does, one sentence."""
    return click.option("--author", default=user_name, metavar="NAME", help=f"{help}  [default: you]")
