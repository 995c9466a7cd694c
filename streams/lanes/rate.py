"""The lane of the agent "rate": deduplicate, window, price, and write line items, one transaction per commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from aiokafka import TopicPartition

from ...schemas.control import Receipt, encode_control
from ...schemas.dead_letter import DeadLetter, held_once, to_kafka
from ...schemas.errors import UNREADABLE, Damaged, Reason, Rejection
from ...schemas.packed import unpack
from ...schemas.usage_event import UsageEvent, hot
from .. import failpoints
from ..control_topic import Controls
from ..core.adding import Added, Settings
from ..core.corrections import Closed
from ..core.segments import Rates
from ..core.state import PartitionState
from ..core.store import Effects, ids_of, pack_ids
from ..ledger import Out, Pairs, Record, Unsettled
from ..prices_topic import Books
from ..progress import Progress, encode_progress
from ..restore import read_progress, read_to_end
from ..rocks import RocksStore
from .answers import Answers
from .base import Batch, Context, Lane
from .decoding import Decoded, PlainReader, decode_batch
from .letters import dead_letter, event_letter
from .shadowing import Shadowing

__all__ = ["RateLane"]

_NO_HEADERS: list[tuple[str, bytes | None]] = []
_BUCKET = b"bucket:"
_CONFLICT = Rejection(Reason.CONFLICT, "an event with this identity and another payload was counted before")


class Taken:
    """What became of the events of a batch, and of its records that hold none."""

    def __init__(self, received: int) -> None:
        self.received, self.counted, self.duplicates, self.unmetered = received, 0, 0, 0
        self.dead: list[DeadLetter] = []

    def add(self, added: Added, letter: Callable[[int, Rejection], DeadLetter]) -> None:
        """Add what the step says; letter: makes a dead letter of the event at a position."""
        self.counted += added.counted
        self.duplicates += added.duplicates
        self.unmetered += added.unmetered
        self.dead += [letter(at, _CONFLICT) for at in added.conflicts]
        self.dead += [letter(at, rejection) for at, rejection in added.rejected]

    def join(self, other: Taken) -> None:
        """Add what became of other records."""
        self.received += other.received
        self.counted += other.counted
        self.duplicates += other.duplicates
        self.unmetered += other.unmetered
        self.dead += other.dead


class RateLane(Lane):
    """Rates partition `number` of `usage.events` and of every raw topic keyed by account."""

    def __init__(
        self, context: Context, number: int, sources: Sequence[TopicPartition], books: Books, controls: Controls, folder: Path
    ) -> None:
        super().__init__(context, f"rate-{number}", sources)
        self.number = number
        self.books = books
        self._answers = Answers(self, controls)
        self._shadowing = Shadowing(self)
        self._folder = folder
        rating = context.config.rating
        self._settings = Settings(rating.window_s, rating.dedupe_window_s, max(1_000, rating.cached_entries // context.config.kafka.partitions))
        self._store: RocksStore | None = None
        self._state: PartitionState | None = None
        self._plain = None if hot is None else PlainReader(context, number)
        self.progress = Progress(self.name)
        self._dead: list[DeadLetter] = []
        self._rates: dict[str, Rates] = {}

    # -- steps 1 and 2: fence, restore -------------------------------------------------------------------------------

    async def own(self) -> dict[TopicPartition, int]:
        """Fence whoever wrote before, read how far they had come, and bring the local store to the end of the changelogs."""
        began = time.monotonic()
        await self.ledger.fence()
        # The progress comes first: it says in which schema everything else is, and nothing of a newer one may get into the store.
        self.progress = await read_progress(self.context.config.kafka, self.context.topics.progress, self.number, self.name)
        store = self._store = RocksStore(self._folder / self.name)
        if store.replaced:
            self.log.warning("local_state_replaced", reason=store.replaced, detail="it is restored from the changelogs")
        await self._restore(store)
        self._dead = []
        await self.books.ready()
        await self._answers.ready()
        if not self.progress.book:
            self.progress.book = self._answers.first_book()
        its = self.progress
        closed = Closed(its.closed_through, self.rates_of(its.closed_book), its.closed_first) if its.closed_through else Closed()
        self._state = PartitionState(store, self.rates_of(self.progress.book), self._settings, closed)
        self._shadowing.forget()
        self.context.metrics.restore_seconds.observe(time.monotonic() - began)
        await failpoints.hit("after_restore", self.name)
        return {tp: self.progress.next_offsets.get(tp.topic, 0) for tp in self.sources}

    async def _restore(self, store: RocksStore) -> None:
        topics = self.context.topics
        oldest = self._settings.oldest_bucket(self.context.clock_ns() // 1_000_000_000)
        starts = {TopicPartition(t, self.number): store.position(t) for t in (topics.windows, topics.dedupe)}
        async for tp, records in read_to_end(self.context.config.kafka, starts):
            position = {tp.topic: records[-1].offset + 1}
            if tp.topic == topics.dedupe:
                for record in records:
                    if record.value is None or record.key is None or not record.key.startswith(_BUCKET):
                        continue
                    bucket = _bucket_of(record.key)
                    if bucket >= oldest:  # Kafka keeps them longer than the next commit would
                        store.write(Effects([], [], ids_of(record.value), bucket, []), {})
                store.write(Effects([], [], {}, 0, []), position)
            else:
                puts = [(r.key, r.value) for r in records if r.key is not None]
                store.write(Effects([], puts, {}, 0, []), position)

    async def release(self) -> None:
        """Close the local store: it holds committed data only, so the next restore starts from it."""
        self._state = None
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def rates_of(self, digest: str) -> Rates:
        """Rates under a published price book. Raises Unavailable when it is not known (yet)."""
        rates = self._rates.get(digest)
        if rates is None:
            tariff = self.books.get(digest)
            rates = self._rates[digest] = Rates(tariff.book, self._settings.window_s, tariff.meters, tariff.digest)
        return rates

    @property
    def state(self) -> PartitionState:
        """The state while the partition is owned. Raises Unsettled when it is not."""
        if self._state is None:
            raise Unsettled(f"{self.name}: not owned")
        return self._state

    # -- step 4: decode, deduplicate, window -------------------------------------------------------------------------

    async def take(self, batch: Batch) -> int:
        """Work a batch into memory; what cannot count becomes a dead letter of the next commit."""
        if batch.tp.topic == self.context.topics.events:
            taken = self._taken_of(self._unpacked(batch))
        elif self._plain is not None and self._plain.reads(batch.tp.topic) and self.state.native:
            taken = self._take_plain(self._plain, batch)
        else:
            taken = self._taken_of(decode_batch(self.context, batch, self.number))
        self._dead += held_once(taken.dead)
        counters = self.progress.of(batch.tp.topic)
        counters.received += taken.received
        counters.counted += taken.counted
        counters.duplicates += taken.duplicates
        counters.dead_lettered += len(taken.dead)
        self.expect(counters.balanced, "received = counted + duplicates + dead-lettered")
        metrics, topic = self.context.metrics, batch.tp.topic
        metrics.received.labels("rate", topic).inc(taken.received)
        metrics.counted.labels("rate", topic).inc(taken.counted)
        metrics.duplicates.labels(topic).inc(taken.duplicates)
        if taken.unmetered:
            metrics.unmetered.labels(topic).inc(taken.unmetered)
        return taken.received

    def _taken_of(self, decoded: Decoded) -> Taken:
        added = self.state.add(decoded.events)
        taken = Taken(len(decoded.events) + len(decoded.dead))
        taken.add(added, decoded.letter)
        taken.dead += decoded.dead
        return taken

    def _take_plain(self, plain: PlainReader, batch: Batch) -> Taken:
        """Plain records without an object for each event; the others as any other batch, more at once the more there are."""
        taken, at, some = Taken(0), 0, 1
        while at < len(batch.records):
            past = plain.read(batch, at)
            added = self.state.add_readings(plain.readings)
            taken.received += len(plain.readings)
            taken.add(added, lambda position, rejection: plain.letter(batch, position, rejection))
            at = past
            if at < len(batch.records):
                taken.join(self._taken_of(decode_batch(self.context, batch._replace(records=batch.records[at : at + some]), self.number)))
                at, some = at + some, 2 * some
        plain.done()
        return taken

    def _unpacked(self, batch: Batch) -> Decoded:
        """Events of packed records, which normalize wrote; a record that is not of that form is a dead letter as a whole."""
        events: list[UsageEvent] = []
        letters: list[Callable[[Rejection], DeadLetter]] = []
        dead: list[DeadLetter] = []
        now, tp = self.context.clock_ns(), batch.tp
        for record in batch.records:
            try:
                packed = unpack(record.value or b"", f"the record at {tp.topic}/{tp.partition}/{record.offset}")
            except UNREADABLE as error:
                rejection = Rejection(Reason.NOT_DECODABLE, f"not a record of usage.events: {error}")
                dead.append(dead_letter(rejection, tp.topic, tp.partition, record.offset, 0, record.value, record.key, record.headers, now))
                continue
            events += packed.events
            origins = zip(packed.offsets, packed.indexes, packed.events, strict=True)
            letters += [_letter_of(packed.topic, packed.partition, offset, index, event, now) for offset, index, event in origins]
        return Decoded(events, letters, dead)

    # -- steps 5 to 7: write, commit, swap ---------------------------------------------------------------------------

    async def commit(self) -> None:
        """Price what was added, then one transaction, then the local store."""
        await self.seal()

    async def seal(self, cause: str = "", receipt: Receipt | None = None) -> None:
        """`commit`, with the cause of what changes and the receipt of the request behind it. The revision is that of the receipt."""
        state, now_s = self.state, self.context.clock_ns() // 1_000_000_000
        self.progress.revision += 1
        effects = state.seal(now_s, self.progress.revision, cause)
        await self.write(effects, receipt)
        state.committed()
        if self._store is not None:
            self._store.forget(self._settings.oldest_bucket(now_s))

    async def write(self, effects: Effects, receipt: Receipt | None = None) -> None:
        """One transaction with these effects, all dead letters, the progress and perhaps a receipt; then the swap."""
        topics, number, store = self.context.topics, self.number, self._store
        if store is None:
            raise Unsettled(f"{self.name}: not owned")
        self.progress.next_offsets = {tp.topic: offset for tp, offset in self.next_offsets.items()}
        progress = encode_progress(self.progress)
        outs: list[Out] = [
            (topics.rated, number, Pairs(effects.line_items)),
            # In this order: pricing fills `puts` while the line items are sent, and tells the shadow.
            (topics.windows, number, Pairs(chain(effects.puts, self._shadowing.puts()))),
            (topics.shadow, number, Pairs(self._shadowing.records())),
            (topics.progress, number, [(self.name.encode(), progress, _NO_HEADERS)]),
        ]
        if effects.ids:
            outs.append((topics.dedupe, number, _id_records(effects)))
        if receipt is not None:
            outs.append((topics.control, 0, [(receipt.control_id.encode(), encode_control(receipt), _NO_HEADERS)]))
        if self._dead:
            outs.append((topics.dead_letter, number, [to_kafka(letter) for letter in self._dead]))
        wrote = await self.ledger.commit(outs, self.next_offsets)
        local = {t: wrote.positions[t] for t in (topics.windows, topics.dedupe) if t in wrote.positions}
        puts = [*effects.puts, *self._shadowing.made.puts]
        store.write(Effects((), puts, effects.ids, effects.bucket, []), local)
        self._shadowing.committed()
        await failpoints.hit("after_swap", self.name)
        self._count(wrote.records.get(topics.rated, 0), sum(effects.unpriced))

    def _count(self, line_items: int, unpriced: int) -> None:
        metrics = self.context.metrics
        metrics.line_items.inc(line_items)
        if unpriced:
            metrics.unpriced.inc(unpriced)
            self.log.error("usage_without_a_price", line_items=unpriced, what_to_do="publish a price for it: ratemill prices publish FILE")
        self.count_dead("rate", self._dead)
        self._dead = []
        total = self.progress.sources.values()
        metrics.unbalanced.labels(self.name).set(sum(c.received - c.counted - c.duplicates - c.dead_lettered for c in total))

    # -- what does not come from a source: price books and requests ---------------------------------------------------

    async def idle(self) -> None:
        """With nothing pending: take over a newer price book, answer requests, in the order in which they take effect."""
        while self._state is not None and not self.ending and await self.finish(self._answers.next()):
            pass
        if self._state is not None and not self.ending:
            await self._shadowing.next()

    def admit(self, batch: Batch) -> Batch:
        """Only what comes before the place at which the next request once took effect, when the log is read again from far back."""
        return self._answers.admit(batch)


def _letter_of(topic: str, partition: int, offset: int, index: int, event: UsageEvent, now: int) -> Callable[[Rejection], DeadLetter]:
    return lambda rejection: event_letter(rejection, topic, partition, offset, index, event, now)


def _bucket_of(key: bytes) -> int:
    """Raises Damaged."""
    try:
        return int(key[len(_BUCKET) :])
    except ValueError as error:
        raise Damaged("the key of a record of identities", error) from error


def _id_records(effects: Effects) -> list[Record]:
    """Identities in records of at most 256 KiB, so that they fit a batch."""
    step = 24 * 10_000
    key = _BUCKET + str(effects.bucket).encode()
    packed = pack_ids(effects.ids)
    return [(key, packed[at : at + step], _NO_HEADERS) for at in range(0, len(packed), step)]

