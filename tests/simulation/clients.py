"""What Ratemill uses of aiokafka, on the simulated network: the producer with transactions, and consumers that read partitions by themselves.

The producer asks as aiokafka's does: one task sends, a request whose connection broke is asked again after a backoff, with the same
epoch and sequence, for as long as the producer lives; an answer that says "fenced" ends it, and everything that waits for it fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
    RequestTimedOutError,
)

from .broker import Partition
from .scheduler import Process, moment
from .world import World

__all__ = ["SimulatedConsumer", "SimulatedProducer"]

BACKOFF_S = 0.1


class Metadata(NamedTuple):
    """What a future of a sent batch holds."""

    offset: int


class _Builder:
    """A batch being filled; the C builder and the batch of aiokafka in one."""

    __slots__ = ("_relative_offset", "_room", "records")

    def __init__(self, room: int) -> None:
        self._room = room
        self._relative_offset = 0
        self.records: list[tuple[int, bytes | None, bytes | None, Any]] = []

    def append(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Any) -> object | None:
        self._room -= len(key or b"") + len(value or b"") + 20
        if self._room < 0 and self.records:  # the first one always fits
            return None
        self.records.append((timestamp, key, value, headers))
        return self


class Batch:
    """What `create_batch` gives."""

    __slots__ = ("_builder", "_relative_offset")

    def __init__(self, room: int) -> None:
        self._builder = _Builder(room)
        self._relative_offset = 0

    def append(self, *, timestamp: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> object | None:
        added = self._builder.append(self._relative_offset, timestamp, key, value, headers)
        self._relative_offset += added is not None
        return added


async def _ask_idly(world: World, process: Process, what: str, answer: Any) -> Any:
    """A request whose answer is always the same: what can come of it is that it fails, so it is sent only when it may."""
    if world.kafka.troubled(process):
        return await world.kafka.request(process, what, lambda: answer)
    await moment()
    return answer


class _Client:
    """The connection of a producer; the ledger listens to what becomes of its requests."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    def send(self, what: str, serve: Callable[[], Any]) -> asyncio.Future[Any]:
        return self._world.kafka.request(self._process, what, serve)

    async def close(self) -> None:
        await moment()


class SimulatedProducer:
    """An `AIOKafkaProducer` with a transactional id."""

    def __init__(self, *, transactional_id: str, transaction_timeout_ms: int, max_batch_size: int, **_: Any) -> None:
        self._world = World.current()
        self._process: Process = asyncio.get_running_loop()  # type: ignore[assignment]
        self._id = transactional_id
        self._timeout_s = transaction_timeout_ms / 1_000
        self._batch_bytes = min(max_batch_size, self._world.plan.batch_bytes)
        self._pid = self._epoch = -1
        self._state = "uninitialized"
        self._closed = False
        self._sender = self
        self.sender_task: asyncio.Task[None] | None = None
        self.client = _Client(self._world, self._process)
        self._wake: asyncio.Future[None] | None = None
        self._batches: list[tuple[TopicPartition, Batch, asyncio.Future[Metadata]]] = []
        self._added: set[TopicPartition] = set()
        self._sequences: dict[TopicPartition, int] = {}
        self._offsets: tuple[dict[TopicPartition, int], asyncio.Future[None]] | None = None
        self._end: asyncio.Future[None] | None = None

    # -- what the ledger calls ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        world, broker = self._world, self._world.broker
        await _ask_idly(world, self._process, "Metadata", None)  # a bootstrap that fails is told
        while True:
            try:
                self._pid, self._epoch = await self.client.send("InitProducerId", lambda: broker.init_producer(self._id, self._timeout_s))
                break
            except (ConcurrentTransactions, KafkaConnectionError, RequestTimedOutError):
                await asyncio.sleep(BACKOFF_S)
        self._state = "ready"
        self.sender_task = self._process.create_task(self._send_all())

    def create_batch(self) -> Batch:
        return Batch(self._batch_bytes)

    async def begin_transaction(self) -> None:
        assert self._state == "ready", f"Invalid state transition {self._state} -> in transaction"
        self._state = "in transaction"
        self._added = set()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Metadata]:
        if self._state != "in transaction":
            raise IllegalOperation("Can't send messages while not in transaction")
        future: asyncio.Future[Metadata] = self._process.create_future()
        if self._batches and self._world.scheduler.draw() < 0.2:
            await asyncio.sleep(0)  # no room yet
        self._batches.append((TopicPartition(topic, partition), batch, future))
        self._notify()
        return future

    async def send(self, topic: str, value: bytes | None, key: bytes | None, partition: int, headers: Any = ()) -> asyncio.Future[Metadata]:
        batch = Batch(1 << 30)
        batch.append(timestamp=self._world.broker.now_ms(), key=key, value=value, headers=headers)
        return await self.send_batch(batch, topic, partition=partition)

    async def send_and_wait(self, topic: str, value: bytes | None, key: bytes | None, partition: int, headers: Any = ()) -> Metadata:
        return await (await self.send(topic, value, key, partition, headers))

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, int], group_id: str) -> None:
        if self._state != "in transaction":
            raise IllegalOperation("Not in the middle of a transaction")
        future = self._process.create_future()
        self._offsets = offsets, future
        self._notify()
        await future  # may be cancelled: the sender goes on

    async def commit_transaction(self) -> None:
        if self._state != "in transaction":
            raise IllegalOperation(f"cannot commit when {self._state}")
        self._state = "committing"
        self._end = self._process.create_future()
        self._notify()
        await self._end

    # -- what sends --------------------------------------------------------------------------------------------------

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _send_all(self) -> None:
        try:
            while True:
                if self._batches:
                    await self._produce()
                elif self._offsets is not None:
                    await self._commit_offsets(*self._offsets)
                elif self._end is not None:
                    await self._ask("EndTxn", lambda: self._world.broker.end(self._id, self._pid, self._epoch, True))
                    self._state = "ready"
                    end, self._end = self._end, None
                    if not end.done():
                        end.set_result(None)
                else:
                    self._wake = self._process.create_future()
                    await self._wake
                    self._wake = None
        except KafkaError as error:
            self._state = "failed"
            waiting = [future for _, _, future in self._batches]
            waiting += [self._offsets[1]] if self._offsets is not None else []
            waiting += [self._end] if self._end is not None else []
            for future in waiting:
                if not future.done():
                    future.set_exception(error)

    async def _ask(self, what: str, serve: Callable[[], Any]) -> Any:
        """Ask until there is an answer."""
        while True:
            try:
                return await self.client.send(what, serve)
            except InvalidProducerEpoch as error:
                raise ProducerFenced() from error
            except (ConcurrentTransactions, KafkaConnectionError, RequestTimedOutError) as error:
                await asyncio.sleep(0.02 if isinstance(error, ConcurrentTransactions) else BACKOFF_S)

    async def _produce(self) -> None:
        """One batch for each partition, all in one request."""
        broker, chosen = self._world.broker, {}
        for tp, batch, future in self._batches:
            chosen.setdefault(tp, (batch, future))
        # The partitions in which the transaction writes must be known to the coordinator first.
        if new := [tp for tp in chosen if tp not in self._added]:
            await self._ask("AddPartitionsToTxn", lambda: broker.add_partitions(self._id, self._pid, self._epoch, new))
            self._added.update(new)
        answers: dict[TopicPartition, int | KafkaError] = {}
        asked = [(tp, self._sequences.get(tp, 0), batch._builder.records) for tp, (batch, _) in chosen.items()]

        def serve() -> dict[TopicPartition, int | KafkaError]:
            return {tp: self._served(tp, sequence, records) for tp, sequence, records in asked}

        answers = await self._ask("Produce", serve)
        done = set()
        for tp, (batch, future) in chosen.items():
            answer = answers[tp]
            if isinstance(answer, InvalidProducerEpoch):
                raise ProducerFenced()
            if isinstance(answer, KafkaError):
                raise answer
            self._sequences[tp] = self._sequences.get(tp, 0) + len(batch._builder.records)
            done.add(id(future))
            if not future.done():
                future.set_result(Metadata(answer))
        self._batches = [waiting for waiting in self._batches if id(waiting[2]) not in done]

    def _served(self, tp: TopicPartition, sequence: int, records: list[Any]) -> int | KafkaError:
        try:
            return self._world.broker.produce(self._id, self._pid, self._epoch, tp, sequence, records)
        except KafkaError as error:
            return error

    async def _commit_offsets(self, offsets: dict[TopicPartition, int], future: asyncio.Future[None]) -> None:
        broker = self._world.broker
        await self._ask("AddOffsetsToTxn", lambda: broker.add_offsets(self._id, self._pid, self._epoch))
        await self._ask("TxnOffsetCommit", lambda: broker.commit_offsets(self._id, self._pid, self._epoch, offsets))
        self._offsets = None
        if not future.done():
            future.set_result(None)


class SimulatedConsumer:
    """An `AIOKafkaConsumer` without a group."""

    def __init__(self, *, isolation_level: str, **_: Any) -> None:
        self._world = World.current()
        self._process: Process = asyncio.get_running_loop()  # type: ignore[assignment]
        self._committed = isolation_level == "read_committed"
        self._positions: dict[TopicPartition, int] = {}

    async def _ask(self, what: str, serve: Callable[[], Any]) -> Any:
        try:
            return await self._world.kafka.request(self._process, what, serve)
        except RequestTimedOutError as error:
            raise KafkaTimeoutError() from error

    async def _idly(self, what: str, answer: Any) -> Any:
        try:
            return await _ask_idly(self._world, self._process, what, answer)
        except RequestTimedOutError as error:
            raise KafkaTimeoutError() from error

    async def start(self) -> None:
        await self._idly("Metadata", None)

    async def stop(self) -> None:
        await moment()

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        self._positions = dict.fromkeys(tps, 0)

    def pause(self, *tps: TopicPartition) -> None:
        pass

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._idly("ListOffsets", dict.fromkeys(tps, 0))  # type: ignore[no-any-return]

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        broker = self._world.broker

        def serve() -> dict[TopicPartition, int]:
            found = map(broker.partition, tps)
            return {partition.tp: partition.stable if self._committed else partition.end for partition in found}

        return await self._ask("ListOffsets", serve)  # type: ignore[no-any-return]

    def getmany(self, *tps: TopicPartition, timeout_ms: int = 0, max_records: int = 500) -> Awaitable[dict[TopicPartition, list[Any]]]:
        return poll(self._world, self._process, self._positions, tps, self._committed, timeout_ms / 1_000, max_records)


async def poll(
    world: World, process: Process, positions: dict[TopicPartition, int], tps: Iterable[TopicPartition], committed: bool, timeout_s: float,
    max_records: int, interrupted: Callable[[asyncio.Future[Any]], None] = lambda _: None,
) -> dict[TopicPartition, list[Any]]:  # fmt: skip
    """Records of some of the partitions from their positions on, {} after the timeout. What goes wrong on the way is nothing but time.

    Times of polls that find nothing are stretched: nothing depends on how often somebody looks in vain.
    """
    limit = min(max_records, world.plan.fetch_records)
    deadline = process.time() + timeout_s * world.plan.idle_stretch
    partitions = [world.broker.partition(tp) for tp in tps]
    while True:
        # What is not there yet is waited for at the broker; only committed records wake who waits.
        behind = [p for p in partitions if (p.stable if committed else p.end) > positions[p.tp]]
        if not behind:
            arrived: asyncio.Future[None] = process.create_future()
            interrupted(arrived)
            wake = _setter(arrived)
            for partition in partitions:
                partition.waiting.append(wake)
            timer = process.call_at(deadline, wake)
            await arrived
            timer.cancel()
            if process.time() >= deadline or not any(p.end > positions[p.tp] for p in partitions):
                return {}
            continue
        asked = {partition.tp: positions[partition.tp] for partition in behind}

        def serve(asked: dict[TopicPartition, int] = asked, behind: list[Partition] = behind) -> list[tuple[TopicPartition, list[Any], int]]:
            return [(p.tp, *p.fetch(asked[p.tp], committed, limit)) for p in behind]

        fetched: dict[TopicPartition, list[Any]] = {}
        try:
            for tp, records, position in await world.kafka.request(process, "Fetch", serve):
                if positions.get(tp) == asked[tp]:  # else somebody has sought meanwhile, and this is not what is wanted
                    positions[tp] = position
                    if records:
                        fetched[tp] = records
        except (KafkaConnectionError, RequestTimedOutError):
            await asyncio.sleep(BACKOFF_S)
        if fetched or process.time() >= deadline:
            return fetched


def _setter(future: asyncio.Future[None]) -> Callable[[], None]:
    def set_() -> None:
        if not future.done():
            future.set_result(None)

    return set_
