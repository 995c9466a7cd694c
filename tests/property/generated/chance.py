"""Chance, with a seed: the few ways in which everything here is drawn, and the instants around which everything happens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

__all__ = ["APRIL", "BOUNDARIES", "DAY", "FEBRUARY", "HOUR", "MARCH", "MAY", "Chance", "iso"]

T = TypeVar("T")

HOUR, DAY = 3_600, 86_400
FEBRUARY, MARCH, APRIL, MAY = 1_769_904_000, 1_772_323_200, 1_775_001_600, 1_777_593_600

# Where prices, overrides, credits and commitments begin and end: few, so that they meet. One is within an hour, one is where
# clocks change in Berlin.
BOUNDARIES = (
    MARCH + 9 * DAY, MARCH + 14 * DAY + 12 * HOUR, MARCH + 19 * DAY + 6 * HOUR + 1_800, MARCH + 28 * DAY + HOUR, APRIL, APRIL + 9 * DAY + 3 * HOUR,
)  # fmt: skip


def iso(seconds: int) -> str:
    """RFC 3339 of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Chance(random.Random):
    """A generator of one seed."""

    def hits(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.random() < probability

    def some(self, members: Sequence[T], least: int = 1, most: int = 3) -> list[T]:
        """A few different members, in the order in which they are."""
        wanted = min(len(members), self.randint(least, most))
        chosen = sorted(self.sample(range(len(members)), wanted))
        return [members[at] for at in chosen]

    def maybe(self, probability: float, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields, or none."""
        return fields if self.random() < probability else {}

    def ascending(self, members: Sequence[T], most: int) -> list[T]:
        """Up to `most` different members in order, perhaps none."""
        return self.some(members, 0, most)
