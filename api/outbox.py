"""Accepted usage on its way to Kafka: acknowledged by all replicas before anybody is told so, and bounded while it waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ..schemas.errors import RatemillError, Unavailable
from .intake import Record
from .problems import Problem

__all__ = ["Outbox"]

_log = logging.getLogger("ratemill.api")
_LINGER_MS = 5  # requests of several clients share a batch
_ANSWER_S = 30.0  # after so long a client is told to send again


class Outbox:
    """One producer for all requests; made when it is first needed, and made anew after an error that it does not recover from.

    settings: of an aiokafka client. prepare: called before the first record, to make the topic. most_waiting: bytes of requests under way.
    """

    def __init__(self, settings: Mapping[str, Any], topic: str, prepare: Callable[[], Awaitable[object]], most_waiting: int) -> None:
        self._settings, self._topic, self._prepare, self._most = settings, topic, prepare, most_waiting
        self._producer: AIOKafkaProducer | None = None
        self._prepared = False
        self._making = asyncio.Lock()
        self.waiting = 0

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Room for a request: a function that takes so many bytes more for it, until the end of the block.

        It raises Problem 429 when requests under way would hold more than `most_waiting`: back-pressure, never a growing queue.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self.waiting + size > self._most:
                said = f"{self.waiting:,} bytes of usage are under way already; send this again a little later"
                raise Problem(429, "overloaded", said, headers={"retry-after": "1"})
            taken += size
            self.waiting += size

        try:
            yield take
        finally:
            self.waiting -= taken

    async def send(self, records: Sequence[Record], headers: list[tuple[str, bytes]]) -> None:
        """Send, and wait until Kafka has all of it. Raises Problem 503 otherwise: some of it may be there, and sending all again is safe."""
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(_ANSWER_S):
                producer = await self._ready()
                sent = [await producer.send(self._topic, r.value, r.key, headers=headers) for r in records]
            done, late = await asyncio.wait(sent, timeout=_ANSWER_S)
            for outcome in done:
                outcome.result()
            if late:
                raise TimeoutError(f"{len(late)} of {len(sent)} records were not acknowledged within {_ANSWER_S:g} s")
        except (KafkaError, OSError, TimeoutError, RatemillError) as error:
            await self._give_up(producer, error)
            said = "Kafka has not taken all of it; send the whole request again: what it has already will count once"
            raise Problem(503, "not-stored", said, headers={"retry-after": "2"}) from error

    async def check(self) -> None:
        """Raises Unavailable when Kafka does not answer, or has no such topic."""
        try:
            async with asyncio.timeout(3):
                producer = await self._ready()
                await producer.partitions_for(self._topic)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"Kafka: {error!r}") from error

    async def close(self) -> None:
        """Stop the producer; what waits is sent first."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _ready(self) -> AIOKafkaProducer:
        async with self._making:
            if not self._prepared:
                await self._prepare()
                self._prepared = True
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._settings, acks="all", enable_idempotence=True, linger_ms=_LINGER_MS, max_batch_size=1 << 20, max_request_size=2 << 20,
                    request_timeout_ms=10_000,
                )  # fmt: skip
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _give_up(self, producer: AIOKafkaProducer | None, error: BaseException) -> None:
        """Use this producer no more: an idempotent one does not recover from every error, and a new one costs little."""
        _log.warning("Kafka has not taken usage: %r", error)
        if producer is not self._producer or producer is None:
            return  # another request has done so
        self._producer = None
        try:
            async with asyncio.timeout(5):
                await producer.stop()
        except (KafkaError, OSError, TimeoutError) as trouble:
            _log.warning("a producer does not stop: %r", trouble)
