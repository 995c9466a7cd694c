"""Completeness as `ratemill completeness` and `GET /v1/completeness` say it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...schemas.arrivals import HOUR_S
from ...schemas.errors import BadInput, Rejection
from ...schemas.times import NS, format_time, parse_time
from .states import table_of
from .store import Sources

__all__ = ["MOST_HOURS", "CompletenessView", "HourView", "SourceView", "read_completeness"]

MOST_HOURS = 7 * 24


class HourView(msgspec.Struct):
    """A source in one hour. Times are RFC 3339."""

    hour: str
    state: str
    events: int
    last_arrival: str | None
    heartbeats: int


class SourceView(msgspec.Struct):
    """A source, hour by hour."""

    source: str
    hours: list[HourView]


class CompletenessView(msgspec.Struct):
    """counted_through: all that had arrived by then is counted; None: nothing is."""

    counted_through: str | None
    sources: list[SourceView]


def read_completeness(
    sources: Sources, expected: Sequence[str], since: str | None, until: str | None, source: str | None, now: int
) -> CompletenessView:  # fmt: skip
    """States of the sources from `since` up to `until` (RFC 3339; without them: the last day).

    expected: sources that always are. source: only this one. now: seconds since 1970. Blocking. Raises BadInput, Unavailable.
    """
    end = now if until is None else _seconds("to", until)
    start = end - 24 * HOUR_S if since is None else _seconds("from", since)
    if not 0 <= end - start <= MOST_HOURS * HOUR_S:
        raise BadInput(f"from and to span no time, or more than {MOST_HOURS} hours; ask for less")
    through = sources.through()
    names = [name for name in expected if source is None or name == source]
    table = table_of(sources.hours(start, end, source), names, start, end, through)
    rows = [
        SourceView(name, [HourView(_time(hour), state, its.events, _time(its.last_arrival) if its.last_arrival else None, its.heartbeats)
                          for hour, (state, its) in zip(table.hours, row, strict=True)])
        for name, row in table.rows.items()
    ]  # fmt: skip
    return CompletenessView(_time(through) if through else None, rows)


def _seconds(name: str, text: str) -> int:
    try:
        return parse_time(text) // NS
    except Rejection as error:
        raise BadInput(f"{name}: {error.detail}") from None


def _time(seconds: int) -> str:
    return format_time(seconds * NS)
