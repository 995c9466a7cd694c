"""Delivery to a raw topic of Kafka: events of one account in one record, acknowledged by all in-sync replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...schemas.errors import BadInput
from ...sinks.access import check_kafka, kafka_client
from .spool import Refused, Row
from .targets import Outcome

__all__ = ["KafkaTarget"]

_SPARE = 4_096  # bytes of a batch around its record


@dataclass(frozen=True)
class KafkaTarget:
    """A raw topic. The settings are those of `[kafka]` (docs/configuration.md); certificates are PEM files.

    record_bytes: events of one account are put together into records of about so many bytes. max_record_bytes: the most that one event may have.
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
        try:
            import aiokafka
        except ImportError:
            raise BadInput("Kafka target: the Kafka client is not installed; pip install 'ratemill-collector[kafka]'") from None
        kafka_client(self, self.password)  # certificates that cannot be used are said now
        return KafkaSender(self, aiokafka)


class KafkaSender:
    """One idempotent producer, made anew after a failure. aiokafka's loop runs while records are delivered, and at no other time."""

    def __init__(self, target: KafkaTarget, aiokafka: Any) -> None:
        self._target, self._aiokafka = target, aiokafka
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
            if self._producer is None:
                self._producer = self._make()
                await self._producer.start()
            failure = await self._send(rows, self._target.record_bytes, done, refused)
        except (self._aiokafka.errors.KafkaError, OSError, TimeoutError) as error:
            failure = _said(error)
        if failure:
            await self._drop()
            failure = f"Kafka at {self._target.bootstrap}, topic {self._target.topic}: {failure}"
        return Outcome(done, refused, failure)

    async def _send(self, rows: Sequence[Row], record_bytes: int, done: list[Row], refused: list[Refused]) -> str:
        """Why some rows are not done, or "". What the topic finds too large is taken apart, down to the event that it will never take."""
        TooLarge = self._aiokafka.errors.MessageSizeTooLargeError
        records = list(_packed(rows, record_bytes))
        results = await asyncio.gather(*(self._record(packed) for packed in records), return_exceptions=True)
        failure = ""
        for packed, result in zip(records, results, strict=True):
            if not isinstance(result, BaseException):
                done.extend(packed)
            elif not isinstance(result, TooLarge):
                failure = failure or _said(result)
            elif len(packed) > 1:
                failure = await self._send(packed, 1, done, refused) or failure
            else:
                failure = await self._apart(packed[0], done, refused) or failure
        return failure

    async def _apart(self, row: Row, done: list[Row], refused: list[Refused]) -> str:
        """A row that is too large for the topic, event by event."""
        for body in row.body.split(b"\n"):
            try:
                await self._record([row._replace(events=1, body=body)])
            except self._aiokafka.errors.MessageSizeTooLargeError as error:
                refused.append(Refused(row.account, row.backfill, "too_large", str(error), body))
        done.append(row)
        return ""

    async def _record(self, packed: list[Row]) -> None:
        """One event by itself: workers read that fastest. Several as a JSON array."""
        body = b"\n".join(row.body for row in packed)
        value = body if b"\n" not in body else b"[" + body.replace(b"\n", b",") + b"]"
        backfill = packed[0].backfill
        headers = [("ratemill-backfill", backfill.encode())] if backfill else []
        # The default partitioner hashes the key as Kafka's own does: an account's events stay in one partition.
        await (await self._producer.send(self._target.topic, value, packed[0].account.encode(), headers=headers))

    def _make(self) -> Any:
        return self._aiokafka.AIOKafkaProducer(
            **kafka_client(self._target, self._target.password),
            acks="all",
            enable_idempotence=True,
            compression_type=self._target.compression,
            max_request_size=(1 << 20) + _SPARE,
            request_timeout_ms=int(self._target.request_timeout_s * 1_000),
        )

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await producer.stop()
            except (self._aiokafka.errors.KafkaError, OSError):
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
