"""Units, spelled as FOCUS wants them. Source: FOCUS specification 1.2 to 1.4, attribute Unit Format, CC BY 4.0."""

from __future__ import annotations

import re

__all__ = ["spelled"]

_TIMES = {
    **dict.fromkeys(("mo", "month", "months"), "Months"),
    **dict.fromkeys(("d", "day", "days"), "Days"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "Hours"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "Minutes"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "Seconds"),
    **dict.fromkeys(("yr", "yrs", "year", "years"), "Years"),
}
_BY_TIME = re.compile(r"(.+)-([A-Za-z]+)")
_ALONE = frozenset({"hr", "hrs", "min", "mins", "sec", "secs", "yr", "yrs"})  # as units of their own; `h` or `d` may be something else


def spelled(unit: str) -> str:
    """`GB-Mo` as `GB-Months`, `Hrs` as `Hours`; any other unit as it is. Only the name changes: it stands for the same amount."""
    found = _BY_TIME.fullmatch(unit)
    if found and (time := _TIMES.get(found[2] if len(found[2]) == 1 else found[2].lower())):  # `GB-h`; a `Model-S` is none of seconds
        return f"{found[1]}-{time}"
    return _TIMES[unit.lower()] if unit.lower() in _ALONE else unit
