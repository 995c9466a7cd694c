"""Time zones by their IANA names, with the rules of the package `tzdata`, which is locked, and not those of the machine.

Two workers on systems of different age must not disagree about where a day begins.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

__all__ = ["known_timezone", "zone_of"]


def known_timezone(name: str) -> bool:
    """Whether this is a time zone of the IANA database."""
    return name in _names()


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> ZoneInfo:
    """The rules of a time zone. Raises ValueError for a name that is none."""
    if not known_timezone(name):
        raise ValueError(f"{name!r} is not a time zone; use a name of the IANA database such as Europe/Berlin")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    listed = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - {"Factory"}  # the zone of machines that nobody has set up
