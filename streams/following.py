"""Following a topic of one partition in the background: what it held before, then every record as it comes."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from ..schemas.errors import NewerSchema, RatemillError, Unavailable
from .config import Config
from .reach import client_settings, denied

__all__ = ["Follower"]

READY_S = 60.0
RETRY_S = 1.0


class Follower:
    """What one topic says, kept up to date. Each record is taken once and in order, however often Kafka goes away in between."""

    def __init__(self, config: Config, topic: str, name: str) -> None:
        """name: of the topic in a few letters, for the log."""
        self._config = config
        self._topic = topic
        self._name = name
        self._next = 0  # offset
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._halt: RatemillError | None = None
        self._log = structlog.get_logger(f"ratemill.{name}")

    def record(self, record: Any) -> None:
        """Take a record of the topic in; whatever it holds, this must not fail. NewerSchema ends the following: see `check`."""
        raise NotImplementedError

    def halted(self) -> None:
        """Called when `check` has something to raise from now on."""

    def start(self) -> None:
        """Begin to follow the topic."""
        self._task = asyncio.get_running_loop().create_task(self._follow(), name=self._name)

    async def stop(self) -> None:
        """End following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=5)

    def check(self) -> None:
        """Raises what ended the following: NewerSchema (what follows in the topic is not known here), or AccessDenied by Kafka."""
        if self._halt is not None:
            raise self._halt

    async def ready(self) -> None:
        """Wait until everything written before the start is known. Raises NewerSchema, AccessDenied, and Unavailable after a minute."""
        try:
            await asyncio.wait_for(self._caught_up.wait(), READY_S)
        except TimeoutError as error:
            raise Unavailable(f"topic {self._topic} could not be read to its end within {READY_S:g} s; trying again") from error
        self.check()

    async def _follow(self) -> None:
        tp = TopicPartition(self._topic, 0)
        while True:
            consumer = AIOKafkaConsumer(
                **client_settings(self._config.kafka), enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed"
            )
            try:
                await consumer.start()
                consumer.assign([tp])
                end = (await consumer.end_offsets([tp]))[tp]
                # Where the last consumer was: who reads it all once more shows, for a while, what has long been superseded.
                consumer.seek(tp, self._next)
                while True:
                    if await consumer.position(tp) >= end:
                        self._caught_up.set()
                    for records in (await consumer.getmany(tp, timeout_ms=500)).values():
                        for record in records:
                            self._next = record.offset + 1
                            self.record(record)
            except NewerSchema as error:
                return self._end(error)
            except Exception as error:
                if reason := await denied(self._config.kafka, error):
                    return self._end(reason)
                # Whatever else it was: a worker cannot do without what the topic says, so this goes on trying for as long as it lives.
                self._log.warning(f"{self._name}_topic_unavailable", detail=repr(error))
                await asyncio.sleep(RETRY_S)
            finally:
                await consumer.stop()

    def _end(self, reason: RatemillError) -> None:
        self._halt = reason
        self._caught_up.set()
        self.halted()
