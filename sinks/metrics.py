"""What the sink tells about itself. The worker passes in an implementation that feeds Prometheus; tests read the counters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["CountingMetrics", "SinkMetrics"]


class SinkMetrics(Protocol):
    """Called by the sink; must be quick and must not raise. All counts are line items unless named otherwise."""

    def indexed(self, items: int) -> None:
        """Written to the index now."""

    def already_there(self, items: int) -> None:
        """Refused by Elasticsearch as not newer (409): a replay, or an older revision."""

    def superseded(self, items: int) -> None:
        """Not sent: the same write held a newer revision of the line item."""

    def refused(self, items: int) -> None:
        """Will never be accepted; given back to the caller for the dead letters."""

    def request(self, seconds: float, items: int, size_bytes: int) -> None:
        """One bulk request was answered, whatever the answer."""

    def retrying(self, kind: str, detail: str, items: int, delay_seconds: float) -> None:
        """Something will be tried again after a pause. `kind` is one of a few words (a label); `detail` is for a person."""


@dataclass
class CountingMetrics:
    """Plain counters: the default of the sink, and what tests look at."""

    counts: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    last_detail: str = ""

    def indexed(self, items: int) -> None:
        self.counts["indexed"] += items

    def already_there(self, items: int) -> None:
        self.counts["already_there"] += items

    def superseded(self, items: int) -> None:
        self.counts["superseded"] += items

    def refused(self, items: int) -> None:
        self.counts["refused"] += items

    def request(self, seconds: float, items: int, size_bytes: int) -> None:
        self.counts["requests"] += 1
        self.counts["bytes"] += size_bytes

    def retrying(self, kind: str, detail: str, items: int, delay_seconds: float) -> None:
        self.retries[kind] += 1
        self.last_detail = detail
