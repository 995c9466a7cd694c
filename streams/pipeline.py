"""How the pipeline stands, computed from what a look at Kafka found: pure, with the time passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from ..schemas.pipeline import Conservation, LaneHealth, PipelineHealth, status_of
from .progress import Counters, Progress

__all__ = ["DeadLetterCount", "Look", "conservation", "health_of"]

HOUR_MIN, DAY_MIN = 60, 1_440


class DeadLetterCount:
    """Dead letters of the last day by the minute in which they were written: bounded, however many there are."""

    def __init__(self) -> None:
        self._minutes: dict[int, int] = {}

    def add(self, timestamp_ms: int, letters: int = 1) -> None:
        """Count letters of a time (milliseconds since 1970)."""
        minute = timestamp_ms // 60_000
        self._minutes[minute] = self._minutes.get(minute, 0) + letters

    def within(self, now_ms: int) -> tuple[int, int]:
        """(letters of the last hour, of the last day), to the minute; older ones are forgotten."""
        now = now_ms // 60_000
        self._minutes = {minute: count for minute, count in self._minutes.items() if now - minute < DAY_MIN}
        return sum(count for minute, count in self._minutes.items() if now - minute < HOUR_MIN), sum(self._minutes.values())


@dataclass(frozen=True)
class Look:
    """What was seen of Kafka at one moment.

    lanes: source -> lane that reads it ("rate-0"). at: first offset that is not processed. ends: last stable offsets. firsts: timestamp in
    milliseconds of the first record from there on, None when there is none; a source that is missing could not be read in time.
    hidden: timestamp of the first record of a transaction that is still open, so that nobody can read on.
    """

    now_ms: int
    lanes: Mapping[TopicPartition, str]
    at: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    firsts: Mapping[TopicPartition, int | None]
    hidden: Mapping[TopicPartition, int] = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    dead_letters: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


def health_of(look: Look, before: Look | None) -> PipelineHealth:
    """What a look says; before: an earlier one, for the throughput. The fields that only Elasticsearch knows are left empty."""
    rows = _rows(look, before)
    ages = [row.lag_s for row in rows]
    lag_s = max((age for age in ages if age is not None), default=None)
    hidden = [_age(look, timestamp) for timestamp in look.hidden.values()]
    # One lane that is not known could be the worst.
    freshness = None if not rows or None in ages else max([lag_s or 0.0, *hidden])
    hour, day = look.dead_letters or (None, None)
    return PipelineHealth(
        status=status_of(freshness),
        freshness_s=freshness,
        lag_s=lag_s,
        lag_records=sum(row.lag_records for row in rows) if rows else None,
        dead_letters_last_hour=hour,
        dead_letters_last_day=day,
        lanes=rows,
        conservation=conservation(look.progress) if look.progress else None,
        notes=list(look.notes),
    )


def _rows(look: Look, before: Look | None) -> list[LaneHealth]:
    """A row for each lane and source partition, in the order of an event's path."""
    rows = []
    for tp, lane in look.lanes.items():
        known = tp in look.firsts
        first = look.firsts.get(tp)
        rows.append(
            LaneHealth(
                lane=lane.split("-")[0],
                topic=tp.topic,
                partition=tp.partition,
                lag_records=0 if known and first is None else max(0, look.ends[tp] - look.at[tp]),
                lag_s=None if not known else 0.0 if first is None else _age(look, first),
                records_per_s=_speed(tp, look, before),
            )
        )
    return rows


def _age(look: Look, timestamp_ms: int) -> float:
    return max(0, look.now_ms - timestamp_ms) / 1_000


def _speed(tp: TopicPartition, look: Look, before: Look | None) -> float | None:
    if before is None or tp not in before.at or look.now_ms <= before.now_ms:
        return None
    return round(max(0, look.at[tp] - before.at[tp]) * 1_000 / (look.now_ms - before.now_ms), 1)


def conservation(progress: Mapping[str, Progress]) -> Conservation:
    """Invariant 2 over all lanes.

    The totals are those of the lanes rate, and what was dead-lettered before it came to them: what is under way between two lanes is in no sum.
    """
    unbalanced, difference, total = [], 0, Counters()
    for name, lane in sorted(progress.items()):
        for topic, one in lane.sources.items():
            if not one.balanced:
                unbalanced.append(f"{name} from {topic}")
                difference += abs(one.received - one.counted - one.duplicates - one.dead_lettered)
            if name.startswith("rate-"):
                total.received += one.received
                total.counted += one.counted
                total.duplicates += one.duplicates
                total.dead_lettered += one.dead_lettered
            elif name.startswith("normalize-"):
                total.received += one.dead_lettered
                total.dead_lettered += one.dead_lettered
    return Conservation(not unbalanced, difference, total.received, total.counted, total.duplicates, total.dead_lettered, unbalanced)
