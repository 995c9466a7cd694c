"""Named units and the exact factors between them. 1 GiB is not 1 GB, and a month is not a fixed time.

    data      bit, B; kB (or KB), MB, GB, TB, PB, EB are powers of 1000; KiB, MiB, GiB, TiB, PiB, EiB of 1024; also of bit: Mbit, Mibit
    time      ns, us, ms, s, min, h, d, or in words: Second, Minutes, Hours, Day
    counts    Count, Thousand, Million, 1K, 1M, 1B; with a name of your own: 1K Requests, Million Requests
    products  data or count x time: GB-h, MiB-s, GB-Hours, Count-d

A name that is none of these is a unit of its own: between two such units only a stated factor leads.
"""

from __future__ import annotations

from difflib import get_close_matches
from fractions import Fraction
from typing import NamedTuple

__all__ = ["UnknownConversion", "conversion", "time_named"]

_DECIMAL = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DATA = {
    **{f"{prefix}{name}": Fraction(size * bits) for prefix, size in (_DECIMAL | _BINARY).items() for name, bits in (("B", 8), ("bit", 1))},
    **dict.fromkeys(("B", "Byte", "Bytes", "byte", "bytes"), Fraction(8)),
    **dict.fromkeys(("bit", "bits", "Bit", "Bits"), Fraction(1)),
}
_TIME_WORDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_TIME = {
    "ns": Fraction(1, 10**9), "us": Fraction(1, 10**6), "ms": Fraction(1, 1000), "s": Fraction(1), "sec": Fraction(1), "min": Fraction(60),
    "h": Fraction(3_600), "d": Fraction(86_400),
    **{form: Fraction(size) for word, size in _TIME_WORDS.items() for form in (word, f"{word}s", word.capitalize(), f"{word.capitalize()}s")},
}  # fmt: skip
_MONTHS = frozenset(("Mo", "mo", "Month", "Months", "month", "months", "Year", "Years", "year", "years", "Yr"))
_ABBREVIATED = {"hr": "hour", "hrs": "hour", "mins": "minute", "secs": "second", "mth": "month", "yr": "year", "yrs": "year"}  # convert to nothing
_MULTIPLES = {"1K": 10**3, "Thousand": 10**3, "1M": 10**6, "Million": 10**6, "1B": 10**9, "Billion": 10**9}
_COUNT = ("Count", "count", "Counts", "1")


class UnknownConversion(Exception):
    """Why there is no factor between two units, and what to do."""


class Unit(NamedTuple):
    """kind: units of one kind convert into each other; a unit of its own has its name for it. size: in the base unit of the kind."""

    kind: str
    size: Fraction


def conversion(source: str, target: str) -> Fraction:
    """How many `target` one `source` is. Raises UnknownConversion."""
    if source == target:
        return Fraction(1)
    one, other = _unit(source), _unit(target)
    if one.kind != other.kind:
        hint = _hint(source, one) or _hint(target, other)
        raise UnknownConversion(hint or f"no fixed factor leads from {source} to {target}; state the one you mean, such as `factor: \"0.25\"`")
    return one.size / other.size


def time_named(unit: str) -> str:
    """The time over which a unit such as GB-h or GB-Hours counts: second, minute, hour, day, month, year, or as written; "" for none."""
    what, dash, time = unit.rpartition("-")
    if not dash or not what:
        return ""
    words = {size: word for word, size in _TIME_WORDS.items()}
    for name in (time, time.lower()):
        if name in _TIME:
            return words.get(int(_TIME[name]), name)
        if name in _MONTHS:
            return "month" if name.startswith(("M", "m")) else "year"
    return _ABBREVIATED.get(time.lower(), "")


def _unit(name: str) -> Unit:
    if name in _DATA:
        return Unit("data", _DATA[name])
    if name in _TIME:
        return Unit("time", _TIME[name])
    if name in _MONTHS:
        raise UnknownConversion(f"{name} is not a fixed time, because months and years differ in length; state the factor you mean with `factor`")
    if name in _COUNT:
        return Unit("count", Fraction(1))
    if name in _MULTIPLES:
        return Unit("count", Fraction(_MULTIPLES[name]))
    multiple, blank, rest = name.partition(" ")
    if blank and rest and multiple in _MULTIPLES:
        base = _unit(rest)
        return Unit(base.kind, base.size * _MULTIPLES[multiple])
    what, dash, time = name.rpartition("-")
    if dash and what and (time in _TIME or time in _MONTHS):
        base, length = _unit(what), _unit(time)
        return Unit(f"{base.kind} x time", base.size * length.size)
    return Unit(name, Fraction(1))


def _hint(name: str, unit: Unit) -> str:
    """A unit that was probably meant, where a name is known for nothing."""
    if unit.kind != name:
        return ""
    known = {spelling.lower(): spelling for spelling in (*_TIME, *_COUNT[:1], *_MULTIPLES, *_DATA)}
    close = get_close_matches(name.lower(), known, 1, 0.8)
    return f"the unit {name} is not known; did you mean {known[close[0]]}?" if close else ""
