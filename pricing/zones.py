"""Time zones by the rules of the package `tzdata`, which is locked, and not by those of the machine: two workers must not disagree."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

__all__ = ["known_timezone", "timezone_names", "zone_of"]


@lru_cache(maxsize=1)
def timezone_names() -> frozenset[str]:
    """The time zones of the IANA database."""
    listed = (files("tzdata") / "zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - {"Factory"}  # the zone of machines that nobody has set up


def known_timezone(name: str) -> bool:
    """Whether this is a time zone of the IANA database."""
    return name in timezone_names()


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> ZoneInfo:
    """The rules of a zone. Raises ValueError when there is none of that name."""
    if not known_timezone(name):
        raise ValueError(f"{name!r} is not a time zone; use a name of the IANA database such as Europe/Berlin")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)
