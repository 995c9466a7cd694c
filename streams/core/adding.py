"""What goes into the stateful step with a batch of events, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...schemas.errors import Rejection
from ...schemas.usage_event import UsageEvent

__all__ = ["Added", "Adding", "Settings"]


class Settings(NamedTuple):
    """Limits of one partition's state. Durations in seconds."""

    window_s: int = 3_600
    dedupe_window_s: int = 35 * 86_400
    cached_entries: int = 250_000  # entries of recently touched groups kept in memory
    deduplicate: bool = True  # off only in tests, to show that they notice

    @property
    def bucket_s(self) -> int:
        """Identities are remembered in buckets of arrival time, dropped whole: half a dedupe window each."""
        return self.dedupe_window_s // 2 or 1

    def oldest_bucket(self, now_s: int) -> int:
        """First bucket that must still be remembered: the window, and one bucket for events under way."""
        return (now_s - self.dedupe_window_s) // self.bucket_s - 1


class Added(NamedTuple):
    """What became of the events of one batch: counted + duplicates + len(conflicts) + len(rejected) is their number."""

    counted: int
    duplicates: int
    conflicts: list[int]  # positions in the batch
    rejected: list[tuple[int, Rejection]]  # position, and why no meter or backfill can take it
    unmetered: int = 0  # counted, and no meter reads them: their filters leave them out


class Adding:
    """A batch on its way in."""

    __slots__ = ("conflicts", "counted", "duplicates", "events", "hashes", "prints", "rejected", "stored", "unmetered")

    def __init__(self, events: Sequence[UsageEvent], hashes: list[bytes], prints: list[bytes], stored: list[bytes | None] | None) -> None:
        self.events, self.hashes, self.prints, self.stored = events, hashes, prints, stored
        self.counted = self.duplicates = self.unmetered = 0
        self.conflicts: list[int] = []
        self.rejected: list[tuple[int, Rejection]] = []

    def take(self, other: Adding, at: int) -> None:
        """Add what came of one event, which is at a position of this batch."""
        self.counted += other.counted
        self.duplicates += other.duplicates
        self.unmetered += other.unmetered
        self.conflicts += [at] * len(other.conflicts)
        self.rejected += [(at, rejection) for _, rejection in other.rejected]
