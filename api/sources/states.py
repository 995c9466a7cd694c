"""What is to be said of a source and an hour. Pure: the clock is passed in."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from ...schemas.arrivals import HOUR_S

__all__ = ["EXPECTED_S", "GRACE_S", "Hour", "State", "Table", "is_silent", "table_of"]

State = Literal["ok", "no usage", "silent", "pending", "not expected"]

EXPECTED_S = 7 * 86_400  # for which a source is expected after it was heard of
GRACE_S = HOUR_S  # after an hour, for its usage to arrive


class Hour(NamedTuple):
    """What is known of a source and an hour: events whose usage was in it, events that arrived in it, heartbeats, and the last arrival."""

    events: int = 0
    arrivals: int = 0
    heartbeats: int = 0
    last_arrival: int = 0


class Table(NamedTuple):
    """Hours (first seconds, since 1970), and for each source its state and counts in each of them."""

    hours: list[int]
    rows: dict[str, list[tuple[State, Hour]]]


def table_of(seen: Mapping[str, Mapping[int, Hour]], declared: Sequence[str], since: int, until: int, through: int) -> Table:
    """States of all hours from `since` up to `until` (seconds since 1970).

    seen: source -> hour -> what is known, from EXPECTED_S before `since` on. declared: sources that are always expected.
    through: until when all that arrived is counted. Sources that are not expected in any of the hours are left out.
    """
    hours = list(range(since - since % HOUR_S, until, HOUR_S))
    rows = {}
    for source in sorted({*seen, *declared}):
        known = seen.get(source, {})
        alive = sorted(hour for hour, its in known.items() if its.arrivals or its.heartbeats)
        row = [(_state(hour, known.get(hour, Hour()), alive, source in declared, through), known.get(hour, Hour())) for hour in hours]
        if any(state != "not expected" for state, _ in row):
            rows[source] = row
    return Table(hours, rows)


def _state(hour: int, its: Hour, alive: Sequence[int], declared: bool, through: int) -> State:
    if its.events:
        return "ok"
    if not declared and bisect_left(alive, hour - EXPECTED_S) == bisect_right(alive, hour):
        return "not expected"
    if through < hour + HOUR_S + GRACE_S:
        return "pending"
    return "no usage" if its.arrivals or its.heartbeats else "silent"


def is_silent(last_seen: int | None, through: int) -> bool:
    """Whether an expected source has sent nothing for an hour. last_seen: None: never. through: what is counted, not what the clock says."""
    return through - (last_seen or 0) > HOUR_S
