"""How the pipeline stands, as one document: what `ratemill top`, `GET /v1/pipeline` and the gauges show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["BEHIND_S", "STALE_S", "Conservation", "Freshness", "LaneHealth", "PipelineHealth", "status_of"]

BEHIND_S, STALE_S = 30.0, 300.0

Status = Literal["ok", "behind", "stale"]


def status_of(freshness_s: float | None) -> Status:
    """What a freshness in seconds is worth. Not known is stale: nobody can say that what is shown is new."""
    if freshness_s is None or freshness_s > STALE_S:
        return "stale"
    return "behind" if freshness_s > BEHIND_S else "ok"


@dataclass(frozen=True, slots=True)
class LaneHealth:
    """One lane on one partition of a topic that it reads.

    lag_records: offsets between what is committed and the end, 0 when there is no record among them; a transaction's own marker takes an
    offset, so it can be a few too many. lag_s: age of the first record that is not processed. records_per_s: between two looks, null at the first.
    """

    lane: str
    topic: str
    partition: int
    lag_records: int
    lag_s: float | None
    records_per_s: float | None


@dataclass(frozen=True, slots=True)
class Conservation:
    """Events since the beginning: received = counted + duplicate + dead_lettered.

    difference: by how many events lanes miss that; anything but 0 is a defect, and `unbalanced` says in which.
    """

    balanced: bool
    difference: int
    received: int
    counted: int
    duplicate: int
    dead_lettered: int
    unbalanced: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """freshness_s: age of the oldest record that has arrived and cannot be seen yet, 0 when all can, null when it is not known.

    status: ok (at most 30 s), behind (at most 300 s), or stale (more, or not known).
    """

    status: Status
    freshness_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineHealth(Freshness):
    """How the pipeline stands. null: not known, and `notes` says why.

    lag_s and lag_records: the worst age, and the sum. oldest_unpriced_s: since the charge period of the oldest line item without a price began.
    """

    lag_s: float | None = None
    lag_records: int | None = None
    dead_letters_last_hour: int | None = None
    dead_letters_last_day: int | None = None
    unpriced: int | None = None
    oldest_unpriced_s: float | None = None
    lanes: list[LaneHealth] = field(default_factory=list)
    conservation: Conservation | None = None
    notes: list[str] = field(default_factory=list)
