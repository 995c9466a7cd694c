"""Windows, months and accumulation periods of one window length in one time zone, as integer seconds since 1970.

Three rules, from which everything follows, whatever a zone does to its clocks:

- A day (a month) begins at the first instant at which the local date has reached it, and ends where the next one begins.
- Within one offset from UTC, hours and minutes begin where the local clock shows a full hour or minute.
- Every change of the offset begins a new hour and a new minute.

So windows tile time without gap or overlap, and days and months begin where an hour begins. A day in Berlin has 23 or 25 hours
when the clocks change. Lord Howe Island moves its clocks by 30 minutes: one hour of that day has 30 minutes.

The rules of the zones are those of `pricing.zones`: the same on every machine.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from ..pricing.zones import zone_of

__all__ = ["WINDOWS", "Calendar", "calendar"]

WINDOWS = ("minute", "hour", "day", "month")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
_NAMES: dict[str | int, str | int] = {60: "minute", 3_600: "hour"}
_UTC_NAMES = ("UTC", "Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu")
_CACHED = 65_536  # hours or days that are remembered: seven years of hours; a full cache is thrown away whole


class Calendar:
    """One division of time. Get it from `calendar`, which makes each only once.

    window: "minute", "hour", "day", "month", or a length in seconds that divides an hour (UTC only).
    timezone: a name of the IANA database. Raises ValueError for anything else.
    """

    __slots__ = ("_chunks", "_length", "_month_starts", "_months", "_zone", "timezone", "window")

    def __init__(self, window: str | int, timezone: str = "UTC") -> None:
        self.window = window
        self.timezone = timezone
        self._zone = None if timezone in _UTC_NAMES else zone_of(timezone)  # None: UTC, which needs no rules
        self._length = 0  # of a window in UTC; 0: not all windows are equally long
        if isinstance(window, int):
            if window <= 0 or 3_600 % window or self._zone is not None:
                raise ValueError(f"a window of {window} s in {timezone}: it must divide an hour, and be in UTC")
            self._length = window
        elif window not in WINDOWS:
            raise ValueError(f"{window!r} is not a window; use one of {', '.join(WINDOWS)}")
        elif self._zone is None:
            self._length = _SECONDS.get(window, 0)
        self._chunks: dict[int, tuple[int, ...]] = {}  # hour of 1970 -> starts of the windows in it, after the start of the one that runs into it
        self._months: dict[int, tuple[int, int]] = {}  # day of 1970 -> month at its first second, and where the next month begins
        self._month_starts: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"Calendar({self.window!r}, {self.timezone!r})"

    def start(self, t_s: int) -> int:
        """Start of the window that holds a moment."""
        length = self._length
        if length:
            return t_s - t_s % length
        if self.window == "month":
            return self.month_start(self.month_of(t_s))
        chunk = self._chunks.get(t_s // 3_600)
        if chunk is None:
            chunk = self._chunk(t_s // 3_600)
        return chunk[bisect_right(chunk, t_s) - 1]

    def end(self, start_s: int) -> int:
        """End (exclusive) of the window that starts there; of the window that holds the moment, if none starts there."""
        length = self._length
        if length:
            return start_s - start_s % length + length
        if self.window == "month":
            return self.month_start(self.month_of(start_s) + 1)
        if self.window == "day":
            return _day_of(self._zone, start_s)[1]
        return _next_start(self._zone, _SECONDS[str(self.window)], start_s)

    def month_of(self, t_s: int) -> int:
        """Calendar month in the zone as one number, 12 x year + month - 1."""
        day = t_s // 86_400
        known = self._months.get(day)
        if known is None:
            if len(self._months) >= _CACHED:
                self._months.clear()
            known = self._months[day] = self._month_at(day * 86_400)
        month, next_start = known
        # Clocks that were put back over midnight show the old month once more; the new one has begun, and goes on.
        return month if t_s < next_start else month + 1

    def month_start(self, month: int) -> int:
        """First second of a month as given by `month_of`."""
        start = self._month_starts.get(month)
        if start is None:
            if len(self._month_starts) >= _CACHED:
                self._month_starts.clear()
            first = date(month // 12, month % 12 + 1, 1)
            start = self._month_starts[month] = _day_start(self._zone, first.toordinal())
        return start

    def period(self, accumulate: str, t_s: int) -> tuple[int, int]:
        """Start (inclusive) and end (exclusive) of the month, day or hour in the zone that holds a moment."""
        if accumulate == "month":
            month = self.month_of(t_s)
            return self.month_start(month), self.month_start(month + 1)
        if self._zone is None:
            length = _SECONDS[accumulate]
            start = t_s - t_s % length
            return start, start + length
        same = calendar(accumulate, self.timezone)
        start = same.start(t_s)
        return start, same.end(start)

    def _month_at(self, t_s: int) -> tuple[int, int]:
        local = _local_date(self._zone, t_s)
        month = local.year * 12 + local.month - 1
        return month, self.month_start(month + 1)

    def _chunk(self, hour: int) -> tuple[int, ...]:
        """Starts of the windows that reach into an hour of 1970, ascending."""
        low, high = hour * 3_600, hour * 3_600 + 3_600
        # From here windows are walked: where the offset changed since, this is too early, and what follows it is right.
        starts = [_day_of(self._zone, low)[0] if self.window == "day" else low - (low + _offset(self._zone, low)) % _SECONDS[str(self.window)]]
        while (start := self.end(starts[-1])) < high:
            starts.append(start)
        if len(self._chunks) >= _CACHED:
            self._chunks.clear()
        found = self._chunks[hour] = tuple(starts)
        return found


def calendar(window: str | int, timezone: str = "UTC") -> Calendar:
    """The calendar of a window and a zone; the same object for every name of the same thing (3600 is "hour", Etc/UTC is UTC)."""
    return _calendar(_NAMES.get(window, window), "UTC" if timezone in _UTC_NAMES else timezone)


_calendar = lru_cache(maxsize=4_096)(Calendar)


def _offset(zone: ZoneInfo | None, t_s: int) -> int:
    """Seconds by which local clocks are ahead of UTC at a moment."""
    if zone is None:
        return 0
    return _seconds(datetime.fromtimestamp(t_s, zone))


def _seconds(local: datetime) -> int:
    ahead = local.utcoffset()
    assert ahead is not None  # a ZoneInfo always has one
    return ahead // timedelta(seconds=1)


def _local_date(zone: ZoneInfo | None, t_s: int) -> date:
    return datetime.fromtimestamp(t_s, zone or UTC).date()


def _first(low: int, high: int, zone: ZoneInfo, offset: int) -> int:
    """First second in (low, high] at which the offset is another one than at low, where it is `offset`."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _next_start(zone: ZoneInfo | None, length: int, t_s: int) -> int:
    """Where the hour or minute after a moment begins: at a full one of the local clock, or where the offset changes."""
    offset = _offset(zone, t_s)
    end = t_s - (t_s + offset) % length + length
    return end if zone is None or _offset(zone, end) == offset else _first(t_s, end, zone, offset)


def _day_of(zone: ZoneInfo | None, t_s: int) -> tuple[int, int]:
    """Start and end of the day that holds a moment."""
    day = _local_date(zone, t_s).toordinal()
    # Clocks that were put back over midnight show the day before once more; and where the date line was moved, a day is empty.
    while (end := _day_start(zone, day + 1)) <= t_s:
        day += 1
    return _day_start(zone, day), end


@lru_cache(maxsize=_CACHED)
def _day_start(zone: ZoneInfo | None, day: int) -> int:
    """First instant at which the local date has reached a day (a number of `date.toordinal`)."""
    midnight = (day - _EPOCH_DAY) * 86_400
    if zone is None:
        return midnight
    clock = datetime.fromordinal(day).replace(tzinfo=zone)
    before, after = _seconds(clock), _seconds(clock.replace(fold=1))
    start = midnight - before  # where midnight comes twice, fold 0 is the first
    if _offset(zone, start) == before:
        return start
    return _first(midnight - after, start, zone, before)  # clocks leap over midnight: the day begins with the leap
