"""Reading `usage.rated` and the closes, so that "final" is said only when it is proven.

A partition's receipt of a close is written by the very transaction that ends the close, so whoever sees it, committed, knows: all line items of
the closed month are in that partition of the rated topic, before its high watermark, and some perhaps in a transaction whose end has not
reached the partition yet. A read_committed reader does not get past such a one. Hence, each time:

    1. closes       read the receipts to the end of the control topic
    2. ends         only then ask for the high watermarks of the rated topic
    3. line items   read committed records until the position has reached them
    4. conclude     what was closed in 1 is final

Nothing has to be known of an earlier run but what the store keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ..schemas.control import Receipt, decode_control
from ..schemas.errors import BadInput, Unavailable
from .store import Close, Store

__all__ = ["InvoiceJob", "Topics"]

_SILENT_S = 90.0  # longer than a transaction of a worker that has died stays open
_BATCH = 5_000  # records
Tell = Callable[[int, int], None]  # offsets read, offsets there are
Take = Callable[[TopicPartition, list[Any], int], None]  # what was read of a partition, and the next offset to read


class Topics(NamedTuple):
    """Where line items and closes are."""

    rated: str = "usage.rated"
    control: str = "ratemill.control"


class InvoiceJob:
    """Keeps a store up to date with the topics.

    kafka: settings of the connection as aiokafka takes them (`bootstrap_servers`, …). It is made in a running event loop. The topics must exist: a
    broker may make those that are asked for.
    """

    def __init__(self, store: Store, kafka: Mapping[str, Any], topics: Topics = Topics()) -> None:  # noqa: B008 - it is never changed
        self.store = store
        self._topics = topics
        settings = {**kafka, "group_id": None, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        self._consumers = [
            AIOKafkaConsumer(topics.control, **settings, isolation_level="read_committed"),
            AIOKafkaConsumer(topics.rated, **settings, isolation_level="read_committed"),
            # To it the end of a partition is the high watermark, to those above where the first open transaction begins.
            AIOKafkaConsumer(topics.control, topics.rated, **settings, isolation_level="read_uncommitted"),
        ]
        self._control, self._rated, self._asking = self._consumers

    async def __aenter__(self) -> Self:
        """Connect. Raises Unavailable."""
        try:
            for consumer in self._consumers:
                await consumer.start()
        except (KafkaError, OSError) as error:
            await self.__aexit__(None, None, None)
            raise Unavailable(f"Kafka does not answer: {error!r}") from error
        self._asking.pause(*self._asking.assignment())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for consumer in self._consumers:
            await consumer.stop()

    @property
    def partitions(self) -> int:
        """Partitions of the rated topic."""
        return len(self._rated.assignment())

    async def catch_up(self, tell: Tell = lambda done, total: None) -> None:
        """Read what is there as of now, and freeze the invoices of what has become final by it.

        Raises Unavailable when Kafka does not deliver, Damaged, NewerSchema, and BadInput when the store has read further than the topics reach.
        """
        try:
            await self._read(self._control, self._take_closes)
            closed = self.store.closed_through()  # before the ends are asked for: that is the proof
            await self._read(self._rated, self._take_items, tell)
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka does not answer: {error!r}") from error
        self.store.conclude(closed)

    async def _read(self, consumer: AIOKafkaConsumer, take: Take, tell: Tell = lambda done, total: None) -> None:
        tps = sorted(consumer.assignment())
        ends = await self._asking.end_offsets(tps)
        for tp in tps:
            at = self.store.position(*tp)
            if at > ends[tp]:
                raise BadInput(f"{tp.topic}/{tp.partition} ends at {ends[tp]}, and {at} was read before; the topic was made anew: name a new store")
            consumer.seek(tp, at)
        begun = now = {tp: await consumer.position(tp) for tp in tps}
        heard_at = time.monotonic()
        # The position passes transaction markers, which are offsets but never records.
        while unread := [tp for tp in tps if now[tp] < ends[tp]]:
            for tp, records in (await consumer.getmany(*unread, timeout_ms=200, max_records=_BATCH)).items():
                take(tp, records, records[-1].offset + 1)
            before, now = now, {tp: await consumer.position(tp) for tp in tps}
            tell(sum(min(now[tp], ends[tp]) - begun[tp] for tp in tps), sum(ends[tp] - begun[tp] for tp in tps))
            if now != before:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > _SILENT_S:
                raise Unavailable(f"{unread[0].topic}: nothing came for {_SILENT_S:.0f} s; `ratemill transactions list` shows what may hang")

    def _take_items(self, tp: TopicPartition, records: list[Any], following: int) -> None:
        self.store.take([(record.offset, record.value) for record in records if record.value is not None], (*tp, following))

    def _take_closes(self, tp: TopicPartition, records: list[Any], following: int) -> None:
        self.store.closed(_closes(tp, records), (*tp, following))


def _closes(tp: TopicPartition, records: Iterable[Any]) -> list[Close]:
    """Of receipts, each of which says what its partition has closed by then. Raises NewerSchema; what is no control record is left out."""
    found = []
    for record in records:
        try:
            its = decode_control(record.value or b"", f"the request or receipt at {tp.topic}/{tp.partition}/{record.offset}")
        except BadInput:
            continue  # as workers do: it is none of theirs
        if isinstance(its, Receipt) and its.closed_through:
            found.append(Close(its.partition, its.closed_through, its.revision, its.at_ns))
    return found
