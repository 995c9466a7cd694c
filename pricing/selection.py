"""How a price picks the unit price of one entry: by its dimensions (`Matrix`) or by its hour (`Schedule`). Pure, compared by what is written.

Both are part of a `Price`. What they look things up in is made once, when the price is read, and takes no part in comparisons.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from .zones import zone_of

__all__ = ["ANY", "DAYS", "MINUTES_OF_WEEK", "OTHERWISE", "Band", "Matrix", "Schedule", "clock_text", "dimension_values", "stretches_of"]

ANY = "*"  # in a matrix: every value of the dimension, also none
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_OF_DAY = 24 * 60
MINUTES_OF_WEEK = 7 * MINUTES_OF_DAY
OTHERWISE = -1  # of a schedule: no band

_values_of = msgspec.json.Decoder(dict[str, str]).decode

Pattern = tuple[int, ...]  # positions of the dimensions that a cell fixes


@lru_cache(maxsize=65_536)
def dimension_values(dimensions: str) -> Mapping[str, str]:
    """The values of a canonical map of dimensions (schemas.usage_event.canonical_map); empty for ""."""
    return MappingProxyType(_values_of(dimensions)) if dimensions else MappingProxyType({})


def cells_by_pattern(matches: tuple[tuple[str, ...], ...]) -> Mapping[Pattern, Mapping[tuple[str, ...], int]]:
    """Pattern -> (values at its positions -> first cell with them). There are few patterns, however many cells there are."""
    found: dict[Pattern, dict[tuple[str, ...], int]] = {}
    for index, values in enumerate(matches):
        pattern = tuple(at for at, value in enumerate(values) if value != ANY)
        found.setdefault(pattern, {}).setdefault(tuple(values[at] for at in pattern), index)
    return found


@dataclass(frozen=True, slots=True)
class Matrix:
    """Cells by the values of some dimensions: cell i matches an entry when each of matches[i] is its value, or ANY.

    dimensions: "region" and "resource" are the event's own; "dimensions.x" is its dimension x. An absent value is "".
    """

    dimensions: tuple[str, ...]
    matches: tuple[tuple[str, ...], ...]
    _cells: Mapping[Pattern, Mapping[tuple[str, ...], int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cells", cells_by_pattern(self.matches))

    def cell_of(self, region: str, resource: str, dimensions: str) -> int | None:
        """Index of the first cell that matches, in the order written; None when none does."""
        values = []
        for name in self.dimensions:
            if name == "region":
                values.append(region)
            elif name == "resource":
                values.append(resource)
            else:
                values.append(dimension_values(dimensions).get(name.removeprefix("dimensions."), ""))
        hits = (cells.get(tuple([values[at] for at in pattern])) for pattern, cells in self._cells.items())
        return min((hit for hit in hits if hit is not None), default=None)


class Band(NamedTuple):
    """Minutes of some days, in local time. `until` is at most 1440; at or below `since` the band runs over midnight into the next day."""

    days: tuple[int, ...]  # 0 is Monday; ascending
    since: int  # minute of the day
    until: int


def stretches_of(band: Band) -> list[tuple[int, int]]:
    """[first, past) in minutes since Monday 00:00; what runs into the next Monday is cut in two."""
    found = []
    for day in band.days:
        first = day * MINUTES_OF_DAY + band.since
        past = day * MINUTES_OF_DAY + band.until + (MINUTES_OF_DAY if band.until <= band.since else 0)
        found.append((first, min(past, MINUTES_OF_WEEK)))
        if past > MINUTES_OF_WEEK:
            found.append((0, past - MINUTES_OF_WEEK))
    return found


def clock_text(minute: int) -> str:
    """A minute of the day as it is written: 480 is 08:00."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


@lru_cache(maxsize=65_536)
def minute_of_week(timezone: str, time_s: int) -> int:
    """Minutes since Monday 00:00 on the clocks of a time zone, at a time in seconds since 1970."""
    there = datetime.fromtimestamp(time_s, UTC).astimezone(zone_of(timezone))
    return there.weekday() * MINUTES_OF_DAY + there.hour * 60 + there.minute


@dataclass(frozen=True, slots=True)
class Schedule:
    """Bands of a week in the local time of a zone (IANA name). Bands do not overlap: a price book refuses it."""

    timezone: str
    bands: tuple[Band, ...]
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _bands: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spans = sorted((first, past, index) for index, band in enumerate(self.bands) for first, past in stretches_of(band))
        changes: list[tuple[int, int]] = [(0, OTHERWISE)]
        for first, past, index in spans:
            changes += [(first, index), (past, OTHERWISE)]
        # Of two changes at one minute the later counts: there the next band begins.
        at = dict(changes)
        object.__setattr__(self, "_starts", tuple(at))
        object.__setattr__(self, "_bands", tuple(at.values()))

    def band_at(self, time_s: int) -> int:
        """Index of the band that holds a time (seconds since 1970), or OTHERWISE."""
        return self._bands[bisect_right(self._starts, minute_of_week(self.timezone, time_s)) - 1]
