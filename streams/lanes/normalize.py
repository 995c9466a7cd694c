"""The lane of the agent "normalize": decode one partition of a raw topic, and pass its events on, packed, by account."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka import TopicPartition

from ...schemas.dead_letter import DeadLetter, held_once, to_kafka
from ...schemas.packed import pack
from ...schemas.usage_event import UsageEvent
from ..ledger import Out, Record
from ..progress import Progress, encode_progress
from ..restore import read_progress
from .base import Batch, Context, Lane
from .decoding import decode_batch
from .partitions import account_partition

__all__ = ["NormalizeLane"]

EVENTS_PER_RECORD = 500
BYTES_PER_RECORD = 1 << 20  # a single event may be larger


class NormalizeLane(Lane):
    """Decodes one raw topic-partition. It holds no state but its progress, so restoring is one small read."""

    def __init__(self, context: Context, source: TopicPartition) -> None:
        super().__init__(context, f"normalize-{source.topic}-{source.partition}", [source])
        self._source = source
        self._progress_at = source.partition % context.partitions[context.topics.progress]
        self._progress = Progress(self.name)
        self._out: dict[int, tuple[list[int], list[int], list[UsageEvent]]] = {}
        self._packed: dict[int, list[Record]] = {}  # an event takes 600 bytes decoded, and 100 packed
        self._dead: list[DeadLetter] = []

    async def own(self) -> dict[TopicPartition, int]:
        """Fence, then read how far this lane had come."""
        await self.ledger.fence()
        self._progress = await read_progress(self.context.config.kafka, self.context.topics.progress, self._progress_at, self.name)
        self._out, self._packed, self._dead = {}, {}, []
        return {self._source: self._progress.next_offsets.get(self._source.topic, 0)}

    async def take(self, batch: Batch) -> int:
        """Decode a batch; its events wait, packed by target partition, for the commit."""
        decoded = decode_batch(self.context, batch, None)
        partitions = self.context.config.kafka.partitions
        records = batch.records
        for at, event in enumerate(decoded.events):
            out = self._out.get(target := account_partition(event.account, partitions))
            if out is None:
                out = self._out[target] = ([], [], [])
            position, index = decoded.origin(at)
            out[0].append(records[position].offset)
            out[1].append(index)
            out[2].append(event)
        self._pack(EVENTS_PER_RECORD)
        self._dead += held_once(decoded.dead)
        counters = self._progress.of(batch.tp.topic)
        counters.received += len(decoded.events) + len(decoded.dead)
        counters.counted += len(decoded.events)
        counters.dead_lettered += len(decoded.dead)
        self.expect(counters.balanced, "received = passed on + dead-lettered")
        metrics = self.context.metrics
        metrics.received.labels("normalize", batch.tp.topic).inc(len(decoded.events) + len(decoded.dead))
        metrics.counted.labels("normalize", batch.tp.topic).inc(len(decoded.events))
        return len(decoded.events) + len(decoded.dead)

    async def commit(self) -> None:
        """Packed events, dead letters, progress and offsets in one transaction."""
        topics, source = self.context.topics, self._source
        self._progress.revision += 1
        self._progress.next_offsets = {tp.topic: offset for tp, offset in self.next_offsets.items()}
        self._pack(1)
        outs: list[Out] = [(topics.events, target, records) for target, records in sorted(self._packed.items())]
        outs.append((topics.progress, self._progress_at, [(self.name.encode(), encode_progress(self._progress), [])]))
        if self._dead:
            at = source.partition % self.context.partitions[topics.dead_letter]
            outs.append((topics.dead_letter, at, [to_kafka(letter) for letter in self._dead]))
        await self.ledger.commit(outs, self.next_offsets)
        self.count_dead("normalize", self._dead)
        self._out, self._packed, self._dead = {}, {}, []

    def _pack(self, multiple: int) -> None:
        """Pack what waits for each target; multiple: only so many events or a multiple of it, the others wait for more."""
        for target, (offsets, indexes, events) in self._out.items():
            end = len(events) - len(events) % multiple
            for at in range(0, end, EVENTS_PER_RECORD):
                its = slice(at, min(end, at + EVENTS_PER_RECORD))
                self._packed.setdefault(target, []).extend(self._within(offsets[its], indexes[its], events[its]))
            del offsets[:end], indexes[:end], events[:end]

    def _within(self, offsets: list[int], indexes: list[int], events: list[UsageEvent]) -> Iterable[Record]:
        """One record, or several where the events are large."""
        value = pack(self._source.topic, self._source.partition, offsets, indexes, events)
        if len(value) <= BYTES_PER_RECORD or len(events) == 1:
            yield None, value, []
            return
        middle = len(events) // 2
        for half in (slice(middle), slice(middle, None)):
            yield from self._within(offsets[half], indexes[half], events[half])
