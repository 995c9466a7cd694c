"""From raw records to accepted events, for the lanes that read raw topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka.structs import ConsumerRecord

from ...schemas.acceptance import check_time
from ...schemas.dead_letter import DeadLetter
from ...schemas.decoders.cloudevents import decode_plain_many
from ...schemas.decoders.registry import decode_record
from ...schemas.errors import Reason, Rejection
from ...schemas.usage_event import UsageEvent
from .base import Batch, Context
from .letters import dead_letter, event_letter
from .partitions import account_partition, known_partitions

__all__ = ["Decoded", "decode_batch"]

_NS = 1_000_000_000


class Decoded(NamedTuple):
    """Accepted events, how to make a dead letter of each, and what was rejected outright."""

    events: list[UsageEvent]
    letters: Sequence[Callable[[Rejection], DeadLetter]]
    dead: list[DeadLetter]
    origins: Sequence[int | tuple[int, int]] = ()

    def origin(self, at: int) -> tuple[int, int]:
        """Where an accepted event came from: position of its record in the batch, and its own place in that record."""
        found = self.origins[at]
        return found if isinstance(found, tuple) else (found, 0)

    def letter(self, at: int, rejection: Rejection) -> DeadLetter:
        """Dead letter of an accepted event that turned out not to count."""
        return self.letters[at](rejection)


class _Letters(Sequence[Callable[[Rejection], DeadLetter]]):
    """Dead-letter makers, made on demand: almost no event needs one."""

    def __init__(self, batch: Batch, origins: list[int | tuple[int, int]], events: list[UsageEvent], large: set[int], now: int) -> None:
        self._batch, self._origins, self._events, self._large, self._now = batch, origins, events, large, now

    def __len__(self) -> int:
        return len(self._origins)

    def __getitem__(self, at: int) -> Callable[[Rejection], DeadLetter]:  # type: ignore[override]
        origin = self._origins[at]
        position, index = origin if isinstance(origin, tuple) else (origin, 0)
        event = self._events[at] if position in self._large else None
        return lambda rejection: _letter(self._batch, self._batch.records[position], index, rejection, self._now, event)


def _letter(
    batch: Batch, record: ConsumerRecord[bytes | None, bytes | None], index: int, rejection: Rejection, now: int, event: UsageEvent | None
) -> DeadLetter:
    """event: of a record that is too large to be repeated for each of its events."""
    if event is not None:
        return event_letter(rejection, batch.tp.topic, batch.tp.partition, record.offset, index, event, now)
    return dead_letter(rejection, batch.tp.topic, batch.tp.partition, record.offset, index, record.value, record.key, record.headers, now)


def decode_batch(context: Context, batch: Batch, own_partition: int | None) -> Decoded:
    """Decode and accept the events of a batch of raw records.

    own_partition: for a topic keyed by account, the partition that every account in it must belong to; else None.
    """
    limits, now = context.limits, context.clock_ns()
    provider = context.topics.raw[batch.tp.topic]
    partitions = context.config.kafka.partitions
    oldest, newest = now - limits.max_event_age_s * _NS, now + limits.max_clock_skew_s * _NS
    events: list[UsageEvent] = []
    origins: list[int | tuple[int, int]] = []
    dead: list[DeadLetter] = []
    large: set[int] = set()  # positions of records whose bytes the letters of single events do not repeat
    records = batch.records
    simple: Sequence[UsageEvent | None] = ()
    if provider == "cloudevents":
        # The common case, all at once: structured CloudEvents in the plain form, in time, in their own partition.
        simple = decode_plain_many([None if record.headers else record.value for record in records], limits)
    known = known_partitions
    for position, event in enumerate(simple or [None] * len(records)):
        if (
            event is not None
            and oldest <= event.time <= newest
            and (own_partition is None or ((hash_ := known.get(event.account)) is not None and hash_ % partitions == own_partition))
        ):
            events.append(event)
            origins.append(position)
            continue
        record = records[position]
        value = record.value
        entries = decode_record(provider, value, record.headers, limits)
        if len(entries) > 1 and value is not None and len(entries) * len(value) > limits.max_letter_bytes:
            large.add(position)
        for index, entry in enumerate(entries):
            rejection = entry if isinstance(entry, Rejection) else check_time(entry, now, limits, live=True)
            if rejection is None and isinstance(entry, UsageEvent):
                if own_partition is None or account_partition(entry.account, partitions) == own_partition:
                    events.append(entry)
                    origins.append((position, index))
                    continue
                rejection = Rejection(
                    Reason.MISPLACED,
                    f"account {entry.account} belongs to partition {account_partition(entry.account, partitions)} of a topic keyed by account; "
                    "key the record by the account",
                )
            if rejection is not None:
                single = entry if position in large and isinstance(entry, UsageEvent) else None
                dead.append(_letter(batch, record, index, rejection, now, single))
    return Decoded(events, _Letters(batch, origins, events, large, now), dead, origins)
