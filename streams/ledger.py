"""One Kafka transaction per partition and commit: the only way anything of ours reaches a topic.

The commit protocol, the same seven steps in docs/architecture.md, in the lanes and in the tests:

    1. fence     start a producer with the transactional.id of the partition: whoever held it before is fenced by the broker,
                 and an open transaction of theirs is settled before this returns
    2. restore   read the progress and the changelogs of the partition to their stable end (read_committed)
    3. seek      read the sources from the offsets that the progress names, and only from there
    4. step      decode, deduplicate, window and price in memory; nothing leaves the process
    5. write     one transaction: line items, changelogs, dead letters, progress, source offsets
    6. commit    the transaction; an error here or in 5 is ambiguous, so the producer and the state in memory are thrown away
                 and the partition starts again at step 1 (or waits to be assigned, when it was fenced). So it does when it was
                 committed, but a request of it went without an answer: Kafka may have that request still, and take it for one of
                 the producer's next transaction (an EndTxn would commit half of it), which only a newer epoch prevents
    7. swap      take the effects over into the local store, with the changelog positions that they reach

A worker that lost its partition can pass steps 4 and 5 unawares, never 6.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError, OutOfOrderSequenceNumber, ProducerFenced

from ..schemas.errors import RatemillError
from . import failpoints
from .config import KafkaConfig
from .filled_batches import filled_batches
from .reach import client_settings, denied, not_allowed

__all__ = ["Fenced", "Ledger", "Out", "Pairs", "Receipt", "Record", "Unsettled"]

Headers = list[tuple[str, bytes | None]]  # a list: aiokafka takes nothing else
Record = tuple[bytes | None, bytes | None, Headers]  # key, value, headers


class Pairs(NamedTuple):
    """Records without headers: (key, value); None: a compacted topic forgets the key."""

    pairs: Iterable[tuple[bytes, bytes | None]]


Out = tuple[str, int, Iterable[Record] | Pairs]  # topic, partition, records

BATCH_BYTES = 1 << 19
# Longer than any healthy commit; shorter than what a stopped worker may block readers of its partitions.
TRANSACTION_TIMEOUT_S = 60.0


class Receipt(NamedTuple):
    """What a transaction wrote, by topic."""

    positions: dict[str, int]  # next offset behind it
    records: dict[str, int]  # number of records


class Fenced(RatemillError):
    """Another worker took the partition over: drop everything, write nothing, wait to be assigned."""


class Unsettled(RatemillError):
    """A transaction whose outcome is unknown: drop the state and restore; the log decides what happened."""

    retriable = True


class Ledger:
    """Transactions of one partition of one agent."""

    def __init__(self, kafka: KafkaConfig, name: str) -> None:
        self._kafka = kafka
        self._name = name
        self._producer: AIOKafkaProducer | None = None
        self._unanswered = False

    async def fence(self) -> None:
        """Step 1. Raises Unsettled when Kafka cannot do it now, AccessDenied when it will not."""
        await self.discard()
        producer = AIOKafkaProducer(
            **client_settings(self._kafka),
            transactional_id=f"{self._kafka.group_id}-{self._name}",
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1_000),
            max_batch_size=BATCH_BYTES,
            max_request_size=20 << 20,
            request_timeout_ms=30_000,
            linger_ms=0,
        )
        self._watch(producer)
        try:
            # Not asyncio.wait_for: before Python 3.12 it swallows a cancellation that comes together with its result.
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
                await producer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await _abandon(producer)
            raise await denied(self._kafka, error) or Unsettled(f"{self._name}: cannot open a transactional producer: {error!r}") from error
        except BaseException:
            await _abandon(producer)
            raise
        self._producer, self._unanswered = producer, False
        await failpoints.hit("after_fence", self._name)

    def _watch(self, producer: AIOKafkaProducer) -> None:
        """Note when a request goes without an answer: aiokafka asks again by itself, and tells nobody."""
        send = producer.client.send

        async def watched(*args: Any, **options: Any) -> Any:
            try:
                return await send(*args, **options)
            except BaseException:
                self._unanswered |= producer is self._producer
                raise

        producer.client.send = watched

    async def commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> Receipt:
        """Steps 5 and 6: all records and offsets, or none. Records may be made on the way; topics are written in the order given.

        Raises Fenced, Unsettled or AccessDenied; then the transaction must be taken as unknown and the ledger be discarded.
        """
        producer = self._producer
        if producer is None:
            raise Unsettled(f"{self._name}: the producer is gone")
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
                try:
                    return await self._transaction(producer, outs, offsets)
                except IllegalOperation as error:
                    raise _ended_by(producer) or error from error
        except ProducerFenced as error:
            raise Fenced(f"{self._name}: another worker holds this partition now") from error
        except (KafkaError, IllegalOperation, OutOfOrderSequenceNumber, OSError, TimeoutError) as error:
            raise not_allowed(self._kafka, error) or Unsettled(f"{self._name}: outcome of a transaction is unknown: {error!r}") from error

    async def _transaction(self, producer: AIOKafkaProducer, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> Receipt:
        await failpoints.hit("before_begin", self._name)
        await producer.begin_transaction()
        sent: list[tuple[str, asyncio.Future[Any], int]] = []
        for at, (topic, partition, records) in enumerate(outs):
            if isinstance(records, Pairs):
                written = await _send_pairs(producer, topic, partition, records.pairs)
            else:
                written = await _send(producer, topic, partition, records)
            for future, count in written:
                future.add_done_callback(_asked)  # the first error ends the transaction; the others say the same
                sent.append((topic, future, count))
            if at == 0:
                await failpoints.hit("after_line_items", self._name)
        receipt = Receipt({}, {})
        for topic, future, count in sent:
            receipt.positions[topic] = max(receipt.positions.get(topic, 0), (await future).offset + count)
            receipt.records[topic] = receipt.records.get(topic, 0) + count
        await failpoints.hit("after_changelog", self._name)
        await failpoints.hit("before_offsets", self._name)
        await producer.send_offsets_to_transaction(dict(offsets), self._kafka.group_id)
        await failpoints.hit("before_commit", self._name)
        await producer.commit_transaction()
        await failpoints.hit("after_commit", self._name)
        if self._unanswered:
            raise Unsettled(f"{self._name}: committed, but a request went without an answer and may still arrive")
        return receipt

    async def discard(self) -> None:
        """Throw the producer away without finishing anything; an open transaction is settled by the next fence or its timeout."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _abandon(producer)


async def _send(producer: AIOKafkaProducer, topic: str, partition: int, records: Iterable[Record]) -> list[tuple[asyncio.Future[Any], int]]:
    """Send records in large batches: a fifth of the cost of one `send` each. Returns (future, number of records) pairs."""
    sent: list[tuple[asyncio.Future[Any], int]] = []
    batch, count = producer.create_batch(), 0
    append = batch.append
    now_ms = time.time_ns() // 1_000_000
    for key, value, headers in records:
        if append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
            if count:
                sent.append((await producer.send_batch(batch, topic, partition=partition), count))
            batch, count = producer.create_batch(), 0
            append = batch.append
            if append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
                # Larger than a batch: goes alone.
                sent.append((await producer.send(topic, value, key, partition, headers=headers), 1))
                batch, count = producer.create_batch(), 0
                append = batch.append
                continue
        count += 1
    if count:
        sent.append((await producer.send_batch(batch, topic, partition=partition), count))
    return sent


async def _send_pairs(
    producer: AIOKafkaProducer, topic: str, partition: int, pairs: Iterable[tuple[bytes, bytes | None]]
) -> list[tuple[asyncio.Future[Any], int]]:
    """As `_send`, for line items and changelog entries, which are most of what is written."""
    now_ms = time.time_ns() // 1_000_000
    batches = filled_batches(pairs, producer.create_batch, BATCH_BYTES, now_ms)
    return [(await producer.send_batch(batch, topic, partition=partition), count) for batch, count in batches]


def _ended_by(producer: AIOKafkaProducer) -> BaseException | None:
    """Why a transaction ended while it was still being written: from then on every call says only that there is none."""
    end = producer._txn_manager.wait_for_transaction_end()
    return end.exception() if end.done() else None


def _asked(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


async def _abandon(producer: AIOKafkaProducer) -> None:
    """End a producer without flushing: whatever it still holds belongs to a transaction that will never commit.

    `AIOKafkaProducer.stop` flushes first, and waits for a broker that may be away for good.
    """
    producer._closed = True
    sender = producer._sender
    task = None if sender is None else sender.sender_task
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=5)
    try:
        async with asyncio.timeout(5):
            await producer.client.close()
    except (TimeoutError, KafkaError, OSError):
        pass
