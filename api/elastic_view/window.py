"""`from` and `to` of a request: which charge periods it is about."""

from __future__ import annotations

from typing import NamedTuple

from ...schemas.errors import Rejection
from ...schemas.times import NS, format_time, parse_naive_utc
from ..problems import Problem

__all__ = ["EARLIEST", "Window", "window_of"]

EARLIEST = "2021-01-01T00:00:00Z"


class Window(NamedTuple):
    """Charge periods that begin at or after `since` and before `until`, both `YYYY-MM-DDTHH:MM:SSZ`.

    A charge period is in the one window that it begins in, whole: windows that meet share no cost, and lose none.
    """

    since: str
    until: str


def window_of(since: str, until: str) -> Window:
    """The window from one RFC 3339 time to another; without an offset it is UTC. Raises Problem 400."""
    begin, end = _seconds("from", since), _seconds("to", until)
    if begin < _seconds("from", EARLIEST):
        raise _invalid(f"from is before {EARLIEST}; ask for a later one", "from")
    if begin >= end:
        raise _invalid("from must be before to", "from", "to")
    return Window(format_time(begin * NS), format_time(end * NS))


def _seconds(name: str, text: str) -> int:
    """Charge periods begin at whole seconds: those at or after a time are those at or after the next one."""
    try:
        return -(-parse_naive_utc(text) // NS)
    except Rejection:
        raise _invalid(f"{name} is not a time like {EARLIEST}; write + as %2B", name) from None


def _invalid(detail: str, *fields: str) -> Problem:
    return Problem(400, "costs.invalid_date_range", detail, fields=fields)
