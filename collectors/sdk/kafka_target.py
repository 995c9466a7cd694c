"""Delivery to a raw topic of Kafka: events of one account in one record, acknowledged by all in-sync replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...schemas.errors import BadInput
from ...schemas.limits import DEFAULT_LIMITS
from ...sinks.access import check_kafka, kafka_client
from .spool import Refused, Row
from .targets import Outcome

__all__ = ["KafkaTarget"]

_SPARE = 4_096  # bytes of a batch around its record


@dataclass(frozen=True)
class KafkaTarget:
    """A raw topic. The settings are those of `[kafka]` (docs/configuration.md); certificates are PEM files.

    record_bytes: events of one account are put together into records of about so many bytes, before they are compressed.
    """

    bootstrap: str
    topic: str = "usage.raw.cloudevents"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    allow_plaintext: bool = False
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    compression: Literal["gzip", "lz4", "snappy", "zstd"] | None = "gzip"
    record_bytes: int = 64 << 10
    request_timeout_s: float = 30.0

    def connect(self) -> KafkaSender:
        """A sender of this topic. Raises BadInput, also where the Kafka client is not installed."""
        try:
            check_kafka(self, self.password)
        except ValueError as error:
            raise BadInput(f"Kafka target: {error}") from None
        if not self.topic:
            raise BadInput("Kafka target: it names no topic; give kafka://host:port/topic")
        if self.record_bytes > DEFAULT_LIMITS.max_record_bytes:
            raise BadInput(f"Kafka target: record_bytes is {self.record_bytes:,}; at most {DEFAULT_LIMITS.max_record_bytes:,} of a record are read")
        try:
            import aiokafka
        except ImportError:
            raise BadInput("Kafka target: the Kafka client is not installed; pip install 'ratemill-collector[kafka]'") from None
        kafka_client(self, self.password)  # certificates that cannot be used are said now
        return KafkaSender(self, aiokafka)


class KafkaSender:
    """One idempotent producer, made anew after a failure. aiokafka's loop runs while records are delivered, and at no other time."""

    def __init__(self, target: KafkaTarget, aiokafka: Any) -> None:
        self._target, self._make, self._errors = target, aiokafka.AIOKafkaProducer, aiokafka.errors
        self._runner = asyncio.Runner()
        self._producer: Any = None

    def deliver(self, rows: Sequence[Row]) -> Outcome:
        """Send rows, several of an account in one record."""
        return self._runner.run(self._deliver(rows))

    def close(self) -> None:
        """End the connection."""
        self._runner.run(self._drop())
        self._runner.close()

    async def _deliver(self, rows: Sequence[Row]) -> Outcome:
        done: list[Row] = []
        refused: list[Refused] = []
        try:
            failure = await self._send(rows, done, refused)
        except (self._errors.KafkaError, OSError, TimeoutError) as error:
            failure = _said(error)
        if failure:
            await self._drop()
            failure = f"Kafka at {self._target.bootstrap}, topic {self._target.topic}: {failure}"
        return Outcome(done, refused, failure)

    async def _send(self, rows: Sequence[Row], done: list[Row], refused: list[Refused]) -> str:
        """Why some rows are not done, or ""."""
        records = list(_packed(rows, self._target.record_bytes))
        await self._start()
        results = await asyncio.gather(*(self._record(packed) for packed in records), return_exceptions=True)
        failure = ""
        too_large: list[Row] = []
        for packed, result in zip(records, results, strict=True):
            if not isinstance(result, BaseException):
                done.extend(packed)
            elif isinstance(result, self._errors.MessageSizeTooLargeError):
                too_large.extend(packed)
            else:
                failure = failure or _said(result)
        if too_large:
            # An idempotent producer is of no use behind a batch that was refused: its numbers have a gap.
            await self._drop()
            for row in too_large:
                refused.extend(await self._apart(row))
                done.append(row)
        return failure

    async def _apart(self, row: Row) -> list[Refused]:
        """A row by itself and, if that is still too large for the topic, event by event; those that it will never take."""
        if await self._fits(row):
            return []
        lines = row.body.split(b"\n")
        reason = f"the topic {self._target.topic} takes no record so large (its max.message.bytes)"
        return [
            Refused(row.account, row.backfill, "too_large", reason, line)
            for line in lines
            if len(lines) == 1 or not await self._fits(row._replace(events=1, body=line))
        ]

    async def _fits(self, row: Row) -> bool:
        try:
            await self._start()
            await self._record([row])
        except self._errors.MessageSizeTooLargeError:
            await self._drop()
            return False
        return True

    async def _record(self, packed: list[Row]) -> None:
        """One event by itself: workers read that fastest. Several as a JSON array."""
        body = b"\n".join(row.body for row in packed)
        value = body if b"\n" not in body else b"[" + body.replace(b"\n", b",") + b"]"
        backfill = packed[0].backfill
        headers = [("ratemill-backfill", backfill.encode())] if backfill else []
        # The default partitioner hashes the key as Kafka's own does: an account's events stay in one partition.
        await (await self._producer.send(self._target.topic, value, packed[0].account.encode(), headers=headers))

    async def _start(self) -> None:
        if self._producer is None:
            self._producer = self._make(
                **kafka_client(self._target, self._target.password),
                acks="all",
                enable_idempotence=True,
                compression_type=self._target.compression,
                max_batch_size=max(1 << 14, self._target.record_bytes),
                max_request_size=DEFAULT_LIMITS.max_record_bytes + _SPARE,
                request_timeout_ms=int(self._target.request_timeout_s * 1_000),
            )
            await self._producer.start()

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await producer.stop()
            except (self._errors.KafkaError, OSError):
                pass  # what was not acknowledged is in the spool


def _packed(rows: Sequence[Row], record_bytes: int) -> Iterator[list[Row]]:
    """Rows that go into one record: of one account and backfill, about so many bytes of them."""
    open_: dict[tuple[str, str], tuple[list[Row], int]] = {}
    for row in rows:
        key = (row.account, row.backfill)
        together, size = open_.get(key) or ([], 0)
        if together and size + len(row.body) > record_bytes:
            yield together
            together, size = [], 0
        together.append(row)
        open_[key] = (together, size + len(row.body) + 1)
    for together, _ in open_.values():
        yield together


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
