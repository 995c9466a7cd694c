"""A lane: one agent's work on one partition. It owns a ledger, a queue of fetched batches, and a life of its own.

Faust assigns partitions and fetches; a lane decides when it may be given batches (`room`), and a new incarnation of it starts
with every assignment. Batches carry the incarnation they were fetched for, so one fetched before a seek is never used after.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from ...schemas.dead_letter import DeadLetter
from ...schemas.errors import RatemillError, Unavailable
from ...schemas.limits import Limits
from ..config import Config
from ..ledger import Fenced, Ledger, Unsettled
from ..metrics import Metrics
from ..topics import Topics

__all__ = ["Batch", "Context", "Lane", "size_of"]

QUEUED_RECORDS = 20_000  # per lane; beyond it no more is fetched for it
QUEUED_BYTES = 96 << 20  # of a worker; each of its lanes has an equal share
RECORD_BYTES = 250  # of the objects that a record is made of, beside what they hold
TAKEN_BYTES = 64 << 20  # per lane: a commit is due when what was taken since the last one holds so much
BEHIND_EVENTS = 20_000  # so many wait in the topics: the lane is catching up
CUT_S = 0.5  # how long a lane that did not end in time has to close its store
OR_END_S = 2.0  # how long a lane that is to end still waits for what may take for ever
FINISH_S = 5.0  # how long a stopped lane may still work on its commit; less than `stop` waits
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
SOONEST_S = 0.25  # between two commits of a lane that is not behind: each may restate the windows that are still filling
COMMITS_AT_ONCE = 3  # of a worker on average: most of a commit is waiting for Kafka
T = TypeVar("T")


class Context(NamedTuple):
    """What every lane of a worker shares."""

    config: Config
    topics: Topics
    partitions: dict[str, int]
    limits: Limits
    metrics: Metrics
    seek: Callable[[TopicPartition, int], Awaitable[None]]
    clock_ns: Callable[[], int] = time.time_ns
    held: Callable[[], int] | None = None  # how many partitions this worker holds; None: never commit sooner than it must


class Batch(NamedTuple):
    """Records of one fetch of one topic-partition, and the incarnation of the lane that asked for them."""

    incarnation: int
    serial: int
    tp: TopicPartition
    records: Sequence[ConsumerRecord[bytes | None, bytes | None]]


class Ended(RatemillError):
    """The lane is to end, and this work was given up: nothing of it counts."""


_VALUE, _KEY, _HEADERS = attrgetter("value"), attrgetter("key"), attrgetter("headers")


def size_of(batch: Batch) -> int:
    """Bytes that a batch's records take: what they hold, and the objects that hold it."""
    records = batch.records
    try:
        values = sum(map(len, map(_VALUE, records))) + sum(map(len, map(_KEY, records)))
    except TypeError:  # one of them has none
        values = sum([len(r.value or b"") + len(r.key or b"") for r in records])
    if any(map(_HEADERS, records)):
        values += sum([len(name) + len(text or b"") for r in records if r.headers for name, text in r.headers])
    return RECORD_BYTES * len(batch.records) + values


class Lane:
    """Base of the three lanes; subclasses say how to own a partition, take a batch, and commit."""

    def __init__(self, context: Context, name: str, sources: Sequence[TopicPartition]) -> None:
        self.context = context
        self.name = name
        self.sources = tuple(sources)
        self.ledger = Ledger(context.config.kafka, name)
        self.log = structlog.get_logger("ratemill.lane").bind(lane=name)
        self.next_offsets: dict[TopicPartition, int] = {}
        self.incarnation = 0
        self._serials: dict[TopicPartition, list[int]] = {}  # [handed out, received] per source
        self._ready = False
        self._strayed = False
        self._ending = asyncio.Event()
        self._queue: deque[tuple[Batch, int]] = deque()  # with the bytes each holds
        self._queued = 0
        self._queued_bytes = 0
        self.share = QUEUED_BYTES  # bytes that may be queued; less when the worker has other lanes
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last: asyncio.Task[None] | None = None  # also after `stop`, which may give up on it
        self.pending = 0  # events since the last commit
        self.lag = 0  # records in the sources behind `next_offsets`, as of the last second
        self._taken = 0  # records since the last commit
        self._taken_bytes = 0
        self._oldest_ms = 0  # when the first of them arrived in Kafka
        self._pending_since = 0.0
        self._commit_s = context.config.rating.commit_interval_s  # how long the last commit took; none yet: as if it took long

    # -- what subclasses do ------------------------------------------------------------------------------------------

    async def own(self) -> dict[TopicPartition, int]:
        """Steps 1 and 2: fence and restore. Returns the offsets to read the sources from."""
        raise NotImplementedError

    async def take(self, batch: Batch) -> int:
        """Step 4: work a batch into memory. Returns how many events it held."""
        raise NotImplementedError

    async def commit(self) -> None:
        """Steps 5 to 7 for everything taken since the last commit."""
        raise NotImplementedError

    async def release(self) -> None:
        """Close what `own` opened; called once per incarnation, whatever happened."""

    def admit(self, batch: Batch) -> Batch:
        """The records of a batch that may be taken now: all of them, or the first ones; the others come again later."""
        return batch

    async def idle(self) -> None:
        """Called when nothing is pending: room for work that does not come from a source."""

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a new incarnation after an assignment."""
        self._task = asyncio.get_running_loop().create_task(self._live(self._last), name=self.name)
        self._last = self._task

    async def stop(self, within_s: float = 10.0) -> None:
        """End this incarnation: a commit under way may finish within the time, everything else is dropped."""
        self._ready = False
        self.incarnation += 1
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=within_s)

    async def conclude(self, within_s: float) -> None:
        """End for good: take no more, commit what was taken. What has not ended in this time is dropped, to be read again."""
        self._ending.set()
        self._arrived.set()
        if self._task is not None and self._ready:  # else nothing was taken
            await asyncio.wait([self._task], timeout=within_s)
        await self.stop(CUT_S)

    @property
    def ending(self) -> bool:
        """Whether this lane only has to commit what it has taken."""
        return self._ending.is_set()

    async def or_end(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work that may take for ever. Raises Ended when the lane is to end and it does not come."""
        task, ending = asyncio.ensure_future(work), asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait([task], timeout=OR_END_S)
            if not task.done():
                raise Ended(f"{self.name}: given up, because the worker ends")
            return task.result()
        finally:
            task.cancel()
            ending.cancel()

    def room(self) -> bool:
        """May more be fetched for this lane?"""
        return self._ready and not self.ending and self._queued < QUEUED_RECORDS and self._queued_bytes < self.share

    def serial(self, tp: TopicPartition) -> int:
        """Number of the next batch handed out for a source; `put` checks that none is missing."""
        numbers = self._serials.setdefault(tp, [0, 0])
        numbers[0] += 1
        return numbers[0]

    def put(self, batch: Batch) -> None:
        """Give a fetched batch to the lane."""
        if batch.incarnation != self.incarnation or not self._ready:
            return
        numbers = self._serials[batch.tp]
        if batch.serial != numbers[1] + 1:
            # A batch was lost between the fetch and here: nothing behind it may be used.
            self.log.warning("batch_lost", topic=batch.tp.topic, expected=numbers[1] + 1, got=batch.serial)
            self._lose(batch.tp)
        else:
            numbers[1] = batch.serial
            size = size_of(batch)
            self._queue.append((batch, size))
            self._queued += len(batch.records)
            self._queued_bytes += size
        self._arrived.set()

    def put_back(self, batches: Sequence[Batch]) -> None:
        """Batches that had to wait come next, before what was put meanwhile."""
        for batch in reversed(batches):
            size = size_of(batch)
            self._queue.appendleft((batch, size))
            self._queued += len(batch.records)
            self._queued_bytes += size

    def stray(self, tp: TopicPartition) -> None:
        """Records fetched for an earlier incarnation were dropped. Were they fetched after our seek, they are missing from here on."""
        self._strayed = True
        if self._ready:
            self._lose(tp)

    def _lose(self, tp: TopicPartition) -> None:
        self._ready = False
        self._queue.append((Batch(-1, 0, tp, ()), 0))
        self._arrived.set()

    async def _live(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            # It has not ended in the time that `stop` gave it: two at once would share one state.
            self.log.warning("waits_for_its_predecessor")
            await asyncio.wait([before])
        failures = 0
        while self._task is asyncio.current_task() and not self.ending:
            began = time.monotonic()
            try:
                await self._incarnate()
            except Fenced as error:
                # Either another worker owns the partition, and the group will soon tell us so; or the transaction timed out,
                # and after a session timeout without a rebalance the partition is still ours.
                self.context.metrics.fenced.inc()
                self.log.warning("fenced", detail=str(error))
                await self._pause(self.context.config.kafka.session_timeout_s * 1.5)
            except (Unsettled, Unavailable) as error:
                failures = 0 if time.monotonic() - began > 60 else failures + 1
                self.context.metrics.resets.inc()
                self.log.warning("partition_starts_again", detail=str(error))
                await self._pause(RETRY_S[min(failures, len(RETRY_S) - 1)])

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass

    async def _incarnate(self) -> None:
        self.incarnation += 1
        self._queue.clear()
        self._queued = self._queued_bytes = 0
        self._serials = {}
        self.pending = self._taken = self._taken_bytes = self.lag = 0
        try:
            self.next_offsets = await self.own()
            self._strayed = True
            while self._strayed:  # a fetch still under way for an earlier incarnation may move the position again
                self._strayed = False
                for tp, offset in self.next_offsets.items():
                    await self.context.seek(tp, offset)
            self.log.info("partition_owned", offsets={tp.topic: o for tp, o in self.next_offsets.items()})
            self._ready = True
            await self._work()
        finally:
            self._ready = False
            # Closing must finish even when the task is cancelled: a store left open could not be opened again.
            await asyncio.shield(asyncio.ensure_future(self._release()))

    async def _release(self) -> None:
        await self.ledger.discard()
        await self.release()

    async def _work(self) -> None:
        rating = self.context.config.rating
        await self.idle()
        while self._task is asyncio.current_task():  # a library may swallow our cancellation
            batch = None if self.ending else await self._next(self._interval() if self.pending else rating.commit_interval_s)
            if batch is not None and batch.incarnation < 0:
                raise Unsettled(f"{self.name}: a fetched batch was lost; reading again from the last commit")
            if batch is not None and (batch := self.admit(batch)).records:
                if not self.pending:
                    self._pending_since = time.monotonic()
                    self._oldest_ms = batch.records[0].timestamp
                try:
                    self.pending += await self.take(batch)
                    self._taken += len(batch.records)
                    self._taken_bytes += size_of(batch)
                    self.next_offsets[batch.tp] = batch.records[-1].offset + 1
                except Ended as ended:
                    self.log.info("given_up", detail=str(ended))
            if self.pending and (self.ending or self._due()):
                await self._commit()
            if self.ending:
                return
            if not self.pending:
                await self.idle()

    def _due(self) -> bool:
        """Whether a commit is due: by number of events, by bytes, or by time."""
        if self.pending >= self.context.config.rating.commit_events or self._taken_bytes >= TAKEN_BYTES:
            return True
        return time.monotonic() - self._pending_since >= self._interval()

    def _interval(self) -> float:
        """Seconds between commits: while far behind, longer ones, because each restates the windows that are still filling.

        Shorter ones else, so that usage shows sooner; but so that on average only a few commits of the worker are under way. Commits take longer on
        a busy machine, so it soon leaves them alone again.
        """
        rating = self.context.config.rating
        # A record of usage.events holds many events; how many, the last ones tell.
        if self.lag * self.pending >= BEHIND_EVENTS * max(1, self._taken):
            return max(rating.commit_interval_s, rating.catch_up_interval_s)
        if self.context.held is None:
            return rating.commit_interval_s
        return min(rating.commit_interval_s, max(SOONEST_S, self.context.held() * self._commit_s / COMMITS_AT_ONCE))

    async def _next(self, interval_s: float) -> Batch | None:
        if not self._queue:
            self._arrived.clear()
            wait = interval_s if not self.pending else max(0.0, self._pending_since + interval_s - time.monotonic())
            try:
                # Not asyncio.wait_for: before Python 3.12 it swallows a cancellation that comes together with its result.
                async with asyncio.timeout(wait):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        else:
            await asyncio.sleep(0)
        if not self._queue:
            return None
        batch, size = self._queue.popleft()
        self._queued -= len(batch.records)
        self._queued_bytes -= size
        return batch

    async def _commit(self) -> None:
        began = time.monotonic()
        await self.finish(self.commit())
        self.pending = self._taken = self._taken_bytes = 0
        self._commit_s = time.monotonic() - began
        metrics, agent = self.context.metrics, self.name.split("-")[0]
        metrics.commit_seconds.labels(agent).observe(self._commit_s)
        metrics.stage_seconds.labels(agent).observe(max(0.0, self.context.clock_ns() / 1e9 - self._oldest_ms / 1e3))

    async def finish(self, commit: Coroutine[Any, Any, T]) -> T:
        """Wait for what ends in one transaction; when the lane is stopped meanwhile, it may still end.

        An open transaction would keep readers waiting until the next fence, or its timeout.
        """
        task = asyncio.ensure_future(commit)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=FINISH_S)
            if not task.cancel():
                task.exception()  # asked for, so that nobody warns about it
            raise

    @property
    def ready(self) -> bool:
        """Whether the partition is owned and restored, and work can be taken."""
        return self._ready

    @property
    def over(self) -> bool:
        """Whether nothing of this lane runs any more: also not what `stop` gave up to wait for."""
        return self._last is None or self._last.done()

    @property
    def queued(self) -> int:
        """Records fetched and waiting."""
        return self._queued

    def check(self) -> None:
        """Raise what ended this lane's task, if anything did: the worker must not go on without the partition."""
        if self._task is not None and self._task.done():
            self.expect(not self._task.cancelled(), "it ended although nobody stopped it")
            self._task.result()

    def count_dead(self, agent: str, letters: Sequence[DeadLetter]) -> None:
        """Tell the metrics of dead letters that were written. A topic of which this worker knows nothing gets no label of its own."""
        known = (*self.context.topics.raw, self.context.topics.events, self.context.topics.rated)
        for letter in letters:
            topic = letter.topic if letter.topic in known else "other"
            self.context.metrics.dead_lettered.labels(agent, topic, letter.reason).inc()

    def expect(self, condition: bool, what: str) -> None:
        """Check an invariant at run time; `assert` would be gone under -O."""
        if not condition:
            raise RatemillError(f"{self.name}: invariant broken: {what}")
