"""From raw records to accepted events, for the lanes that read raw topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aiokafka.structs import ConsumerRecord

from ...schemas.acceptance import check_time
from ...schemas.dead_letter import DeadLetter
from ...schemas.decoders.cloudevents import decode_plain_many, plain_bytes
from ...schemas.decoders.registry import decode_record
from ...schemas.errors import Reason, Rejection
from ...schemas.usage_event import UsageEvent, hot
from .base import Batch, Context
from .letters import dead_letter
from .partitions import account_partition, known_partitions

__all__ = ["Decoded", "PlainReader", "decode_batch"]

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

    def __init__(self, batch: Batch, origins: Sequence[int | tuple[int, int]], now: int) -> None:
        self._batch, self._origins, self._now = batch, origins, now

    def __len__(self) -> int:
        return len(self._origins)

    def __getitem__(self, at: int) -> Callable[[Rejection], DeadLetter]:  # type: ignore[override]
        origin = self._origins[at]
        position, index = origin if isinstance(origin, tuple) else (origin, 0)
        return lambda rejection: _letter(self._batch, self._batch.records[position], index, rejection, self._now)


class PlainReader:
    """Reads plain CloudEvents of a partition keyed by account without an object for each; needs the compiled loops."""

    def __init__(self, context: Context, own_partition: int) -> None:
        self._context, self._own = context, own_partition
        self.readings = hot.Readings()

    def reads(self, topic: str) -> bool:
        """Whether there may be such events in a topic."""
        return self._context.topics.raw.get(topic) == "cloudevents" and plain_bytes(self._context.limits) > 0

    def read(self, batch: Batch, at: int) -> int:
        """Read records from position `at` on into `readings`; returns the position of the first that is not plain, in time and in place."""
        limits, now = self._context.limits, self._context.clock_ns()
        values = [None if record.headers else record.value for record in batch.records]
        self.readings.read(
            values, at, plain_bytes(limits), limits.max_record_bytes, limits.max_events_per_record,
            now - limits.max_event_age_s * _NS, now + limits.max_clock_skew_s * _NS, self._context.config.kafka.partitions, self._own,
        )  # fmt: skip
        past: int = self.readings.past
        return past

    def done(self) -> None:
        """Let go of what was read."""
        self.readings.done()

    def letter(self, batch: Batch, at: int, rejection: Rejection) -> DeadLetter:
        """Dead letter of a reading that turned out not to count."""
        position, index = self.readings.origin(at)
        return _letter(batch, batch.records[position], index, rejection, self._context.clock_ns())


def _letter(batch: Batch, record: ConsumerRecord[bytes | None, bytes | None], index: int, rejection: Rejection, now: int) -> DeadLetter:
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
    records = batch.records
    simple: Any = ()  # events, and None for those that are not so simple
    if provider == "cloudevents":
        # The common case, all at once: structured CloudEvents in the plain form, in time, in their own partition.
        simple = decode_plain_many([None if record.headers else record.value for record in records], limits)
        if hot is not None and hot.in_place(simple, oldest, newest, known_partitions, partitions, -1 if own_partition is None else own_partition):
            return Decoded(simple, _Letters(batch, range(len(simple)), now), [], range(len(simple)))
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
        for index, entry in enumerate(decode_record(provider, value, record.headers, limits)):
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
                dead.append(_letter(batch, record, index, rejection, now))
    return Decoded(events, _Letters(batch, origins, now), dead, origins)
