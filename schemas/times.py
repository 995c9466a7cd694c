"""Times as integers: nanoseconds since 1970-01-01T00:00:00Z, in UTC, without floats and without a clock.

`parse_time` is strict RFC 3339. Providers that write other dialects have their own functions, so that no dialect
leaks into another source's decoder.
"""

from __future__ import annotations

import re
from datetime import date

from .errors import Reason, Rejection

__all__ = ["NS", "format_time", "parse_epoch_ms", "parse_naive_utc", "parse_spaced_time", "parse_time", "parse_us_date", "year_start"]

NS = 1_000_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
# A signed 64-bit count of nanoseconds reaches from 1677-09-21 to 2262-04-11; whole years inside that range.
_FIRST_YEAR, _LAST_YEAR = 1678, 2261

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?",
)
_US_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_EPOCH_MS = re.compile(r"-?[0-9]{1,15}")

_CACHE_SIZE = 65_536  # minutes: 45 days, more than an event may be late
_minutes: dict[str, int] = {}
_seconds: dict[str, int] = {f":{s:02d}": s * NS for s in range(60)}
_fractions: dict[str, int] = {"Z": 0, **{f".{ms:03d}Z": ms * 1_000_000 for ms in range(1_000)}}


def parse_time(text: str) -> int:
    """Nanoseconds of an RFC 3339 time. A zone is required; at most 9 fraction digits. Raises Rejection(BAD_TIME).

    The usual form `YYYY-MM-DDTHH:MM:SSZ`, with or without milliseconds, costs three dictionary look-ups: its minute has mostly
    been seen before, and its end is one of 60 and one of 1,001 texts. All three hold valid texts only, so nothing else has to
    be checked.
    """
    minute = _minutes.get(text[:16])
    if minute is not None:
        second = _seconds.get(text[16:19])
        fraction = _fractions.get(text[19:])
        if second is not None and fraction is not None:
            return minute + second + fraction
    return _parse(text, naive_is_utc=False)


def parse_naive_utc(text: str) -> int:
    """As `parse_time`, but a time without a zone is UTC (Azure marketplace, some exports). Raises Rejection(BAD_TIME)."""
    return _parse(text, naive_is_utc=True)


def parse_spaced_time(text: str) -> int:
    """BigQuery's `2020-11-09 23:00:00+00:00` and `2020-11-09 23:00:00 UTC`, or RFC 3339. Raises Rejection(BAD_TIME)."""
    if text.endswith(" UTC"):
        text = text[:-4] + "Z"
    if len(text) > 10 and text[10] == " ":
        text = f"{text[:10]}T{text[11:]}"
    return parse_time(text)


def parse_us_date(text: str) -> int:
    """Azure's `MM/DD/YYYY` (also `M/D/YYYY`), `YYYY-MM-DD`, or RFC 3339: the start of that day in UTC. Raises Rejection(BAD_TIME)."""
    found = _US_DATE.fullmatch(text)
    if found is not None:
        month, day, year = (int(part) for part in found.groups())
        return _day(year, month, day, text) * 86_400 * NS
    found = _ISO_DATE.fullmatch(text)
    if found is not None:
        year, month, day = (int(part) for part in found.groups())
        return _day(year, month, day, text) * 86_400 * NS
    return parse_naive_utc(text)


def parse_epoch_ms(text: str) -> int:
    """Whole milliseconds since the epoch, as digits (CloudWatch metric streams). Raises Rejection(BAD_TIME)."""
    if _EPOCH_MS.fullmatch(text) is None:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} is not a whole number of milliseconds since 1970")
    ns = int(text) * 1_000_000
    if not -(1 << 63) <= ns < 1 << 63:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} milliseconds is outside the years {_FIRST_YEAR} to {_LAST_YEAR}; is it in another unit?")
    return ns


def format_time(ns: int) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`; a fraction is written only where there is one, without trailing zeros, so nothing is lost."""
    seconds, fraction = divmod(ns, NS)
    days, rest = divmod(seconds, 86_400)
    day = date.fromordinal(days + _EPOCH_DAY)
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{day.isoformat()}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}{tail}Z"


def year_start(year: int) -> int:
    """Nanoseconds at the first instant of a year, UTC."""
    return (date(year, 1, 1).toordinal() - _EPOCH_DAY) * 86_400 * NS


def _parse(text: str, *, naive_is_utc: bool) -> int:
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} is not an RFC 3339 time; send for example 2026-07-16T14:00:00Z")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction: str = found[7] or ""
    zone: str | None = found[8]
    if zone is None and not naive_is_utc:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} has no zone; add Z for UTC or an offset such as +02:00")
    if second == 60:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} is a leap second, which computers do not count; send second 59 or the next minute")
    if hour > 23 or minute > 59 or second > 59:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} is not a time of day")
    if len(fraction) > 9:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} is finer than a nanosecond; send at most 9 fraction digits")
    days = _day(year, month, day, text)
    minute_ns = (days * 1440 + hour * 60 + minute) * 60 * NS
    ns = minute_ns + second * NS + int(fraction.ljust(9, "0"))
    if zone is None or zone in "Zz":
        if text[10] == "T":  # the cache answers for exactly this spelling
            if len(_minutes) >= _CACHE_SIZE:
                _minutes.clear()
            _minutes[text[:16]] = minute_ns
        return ns
    offset_hour, offset_minute = int(zone[1:3]), int(zone[4:6])
    if offset_hour > 23 or offset_minute > 59:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} has the offset {zone}, which is not one")
    offset = (offset_hour * 60 + offset_minute) * 60 * NS
    return ns + offset if zone[0] == "-" else ns - offset


def _day(year: int, month: int, day: int, text: str) -> int:
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} is outside the years {_FIRST_YEAR} to {_LAST_YEAR}")
    try:
        return date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        raise Rejection(Reason.BAD_TIME, f"{_shown(text)} is not a day of the calendar") from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
