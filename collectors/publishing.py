"""Records on their way to a raw topic: batched per partition, acknowledged by all replicas, idempotent; bytes as they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from ..schemas.decoders.registry import decode
from ..schemas.errors import UNREADABLE, Unavailable
from ..schemas.usage_event import UsageEvent
from .files import MAX_PIECE_BYTES, Piece

__all__ = ["Published", "account_of", "headers_of", "publish"]

_BATCH_BYTES = 1 << 20
_IN_FLIGHT = 24  # batches; beyond that, reading waits
_PACED_RECORDS = 500  # per batch at most when a rate is asked for, so that records leave evenly

Headers = list[tuple[str, bytes]]


class _Subject(msgspec.Struct):
    subject: str


_decode_subject = msgspec.json.Decoder(_Subject).decode


@dataclass
class Published:
    """What was acknowledged, and what could not be sent."""

    records: int = 0
    bytes: int = 0
    too_large: list[tuple[Piece, str]] = field(default_factory=list)


def headers_of(format: str, backfill: str) -> Headers:
    """Headers of a record. A plain CloudEvent that is no backfill has none: the hot path of the worker depends on it."""
    headers: Headers = []
    if format != "cloudevents":
        headers.append(("ratemill-format", format.encode()))
    if backfill:
        headers.append(("ratemill-backfill", backfill.encode()))
    return headers


def account_of(value: bytes, format: str) -> bytes | None:
    """The account of a record's events as the bytes of a key; None when it has several or cannot be read."""
    if format == "cloudevents":
        try:
            return _decode_subject(value).subject.encode() or None
        except (*UNREADABLE, UnicodeError):
            pass
    accounts = {entry.account for entry in decode(value, (), format) if isinstance(entry, UsageEvent)}
    return accounts.pop().encode() if len(accounts) == 1 else None


async def publish(
    settings: Mapping[str, Any], topic: str, pieces: Iterable[Piece], headers: Headers,
    key: Callable[[bytes], bytes | None], rate: float = 0, progress: Callable[[int], None] = lambda _: None,
) -> Published:  # fmt: skip
    """Send records to a topic and wait until all are acknowledged. rate: records a second, 0 for as many as can be.

    settings: connection settings of an aiokafka client. Records with a key go to the partition that Kafka's default
    partitioner gives the key, others to all in turn. Raises Unavailable; what was sent before may then be on the topic.
    """
    producer = AIOKafkaProducer(
        **settings,
        acks="all",
        enable_idempotence=True,
        max_batch_size=_BATCH_BYTES,
        max_request_size=MAX_PIECE_BYTES + 4_096,
        request_timeout_ms=30_000,
    )
    try:
        await producer.start()
        partitions = len(await producer.partitions_for(topic))
        sending = _Sending(producer, topic, partitions, headers, rate)
        for piece in pieces:
            await sending.take(piece, key(piece.value) if not piece.size else None)
            progress(sending.published.records)
        await sending.flush()
        await sending.settle(0)
        return sending.published
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {settings.get('bootstrap_servers')}: {error!r}; is it running? see `ratemill doctor`") from error
    finally:
        await producer.stop()


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


class _Sending:
    """One open batch per partition, and the batches under way."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int, headers: Headers, rate: float) -> None:
        self._producer, self._topic, self._partitions, self._headers = producer, topic, partitions, headers
        self._rate, self._began, self._taken = rate, time.monotonic(), 0
        self._open: dict[int, tuple[Any, int, int]] = {}  # partition -> batch builder, records, bytes
        self._turn = 0
        self._sent: list[tuple[asyncio.Future[Any], int, int]] = []
        self.published = Published()

    async def take(self, piece: Piece, key: bytes | None) -> None:
        """Put a record into its batch, and send what is full."""
        if piece.size or len(piece.value) > MAX_PIECE_BYTES:
            size = piece.size or len(piece.value)
            self.published.too_large.append((piece, f"the record has {size} bytes; a raw topic takes at most {MAX_PIECE_BYTES}"))
            return
        partition = self._turn if key is None else _hash(key) % self._partitions
        batch, records, size = self._open.get(partition) or (self._producer.create_batch(), 0, 0)
        if batch.append(timestamp=None, key=key, value=piece.value, headers=self._headers) is None:
            if records:
                await self._send(partition, batch, records, size)
                batch, records, size = self._producer.create_batch(), 0, 0
            if not records and batch.append(timestamp=None, key=key, value=piece.value, headers=self._headers) is None:
                await self._alone(piece, key, partition)
                return
        self._open[partition] = (batch, records + 1, size + len(piece.value))
        self._taken += 1
        if self._rate:
            await self._pace()

    async def _alone(self, piece: Piece, key: bytes | None, partition: int) -> None:
        """A record larger than a batch."""
        self._open.pop(partition, None)
        try:
            future = await self._producer.send(self._topic, piece.value, key, partition, headers=self._headers)
        except MessageSizeTooLargeError:
            self.published.too_large.append((piece, f"the record has {len(piece.value)} bytes; a raw topic takes at most {MAX_PIECE_BYTES}"))
            return
        self._sent.append((future, 1, len(piece.value)))
        await self.settle(_IN_FLIGHT)

    async def _send(self, partition: int, batch: Any, records: int, size: int) -> None:
        self._open.pop(partition, None)
        self._turn = (self._turn + 1) % self._partitions
        self._sent.append((await self._producer.send_batch(batch, self._topic, partition=partition), records, size))
        await self.settle(_IN_FLIGHT)

    async def _pace(self) -> None:
        ahead = self._taken / self._rate - (time.monotonic() - self._began)
        if ahead > 0.05 or self._taken % _PACED_RECORDS == 0:
            await self.flush()
            await asyncio.sleep(max(0.0, ahead))

    async def flush(self) -> None:
        """Send every open batch."""
        for partition, (batch, records, size) in list(self._open.items()):
            if records:
                await self._send(partition, batch, records, size)

    async def settle(self, left: int) -> None:
        """Wait until at most `left` batches are not acknowledged."""
        while len(self._sent) > left:
            future, records, size = self._sent.pop(0)
            await future
            self.published.records += records
            self.published.bytes += size
