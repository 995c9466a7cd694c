"""The lane of the agent "index": line items of one partition of `usage.rated` to Elasticsearch.

At least once, made exactly once by external versions: a repeated line item is refused as already there (409). While
Elasticsearch is away this lane waits with a full queue and fetches no more; rating goes on untouched.
"""

from __future__ import annotations

from aiokafka import TopicPartition

from ...schemas.dead_letter import DeadLetter, to_kafka
from ...schemas.errors import Reason, Rejection
from ...sinks.elasticsearch import ElasticsearchSink
from ..ledger import Out
from ..progress import Progress, encode_progress
from ..restore import read_progress
from .base import QUEUED_RECORDS, Batch, Context, Lane
from .letters import dead_letter

__all__ = ["FLUSH_RECORDS", "IndexLane"]

FLUSH_RECORDS = 8_000  # written at once: as many as are queued when it begins, and one fetch more than this at most


class IndexLane(Lane):
    """Indexes one partition of `usage.rated`."""

    def __init__(self, context: Context, source: TopicPartition, sink: ElasticsearchSink) -> None:
        super().__init__(context, f"index-{source.partition}", [source])
        self._source = source
        self._sink = sink
        self._progress_at = source.partition % context.partitions[context.topics.progress]
        self._progress = Progress(self.name)
        self._dead: list[DeadLetter] = []
        self._writing = 0  # records that wait for Elasticsearch no longer in the queue

    async def own(self) -> dict[TopicPartition, int]:
        """Fence, then read how far this lane had come."""
        await self.ledger.fence()
        self._progress = await read_progress(self.context.config.kafka, self.context.topics.progress, self._progress_at, self.name)
        self._dead, self._writing = [], 0
        return {self._source: self._progress.next_offsets.get(self._source.topic, 0)}

    def room(self) -> bool:
        """May more be fetched? What is being written counts too: while Elasticsearch is away it stays."""
        return super().room() and self._queued + self._writing < QUEUED_RECORDS

    def _interval(self) -> float:
        # What Elasticsearch has is visible whether or not its offsets are committed.
        return self.context.config.rating.commit_interval_s

    async def _next(self, interval_s: float) -> Batch | None:
        """All that waits, up to a bound: of a line item that was restated meanwhile only the newest revision is then sent.

        So the more it falls behind, the less it sends.
        """
        batch = await super()._next(interval_s)
        if batch is None or batch.incarnation < 0:
            return batch
        records = list(batch.records)
        while len(records) < FLUSH_RECORDS and self._queue and self._queue[0][0].incarnation == batch.incarnation:
            more = await super()._next(interval_s)
            records += more.records if more is not None else ()
        self._writing = len(records)
        return batch._replace(records=records)

    async def take(self, batch: Batch) -> int:
        """Write a batch and wait until Elasticsearch has it, however long that takes. Raises Ended."""
        items = [record.value for record in batch.records if record.value is not None]
        refused = await self.or_end(self._sink.write(items))
        self._writing = 0
        now = self.context.clock_ns()
        if refused:
            records = {id(record.value): record for record in batch.records}  # not by value: two may be alike
            for item in refused:
                record = records[id(item.item)]
                rejection = Rejection(Reason.BAD_LINE_ITEM, f"Elasticsearch answered {item.status}: {item.reason}"[:500])
                self._dead.append(dead_letter(rejection, batch.tp.topic, batch.tp.partition, record.offset, 0, record.value, record.key, (), now))
        counters = self._progress.of(batch.tp.topic)
        counters.received += len(batch.records)
        counters.dead_lettered += len(refused)
        counters.counted += len(batch.records) - len(refused)
        visible = self.context.metrics.visible_seconds
        for timestamp in {record.timestamp for record in batch.records}:
            visible.observe(max(0.0, now / 1e9 - timestamp / 1e3))
        return len(batch.records)

    async def commit(self) -> None:
        """Dead letters, progress and offsets in one transaction."""
        topics = self.context.topics
        self._progress.revision += 1
        self._progress.next_offsets = {tp.topic: offset for tp, offset in self.next_offsets.items()}
        outs: list[Out] = [(topics.progress, self._progress_at, [(self.name.encode(), encode_progress(self._progress), [])])]
        if self._dead:
            at = self._source.partition % self.context.partitions[topics.dead_letter]
            outs.append((topics.dead_letter, at, [to_kafka(letter) for letter in self._dead]))
        await self.ledger.commit(outs, self.next_offsets)
        self.count_dead("index", self._dead)
        self._dead = []
