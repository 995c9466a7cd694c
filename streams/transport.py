"""The micro-batch transport: Faust over aiokafka, one Faust message per fetch and partition instead of one per record.

Faust costs about 95 microseconds a message; a batch pays that once for thousands of records. The value of each message is a
`Batch` for the lane that asked for it. What else differs from Faust's own driver, and why:

* `_getmany` asks only for partitions whose lane has room: back-pressure reaches the fetcher, nothing piles up in streams.
* `_commit` does nothing: source offsets travel in the lanes' transactions, and Faust's timer would move them back.
* `verify_event_path` does nothing, for the same reason: it would report partitions as stuck that Faust never commits.
* `perform_seek` does nothing: a lane seeks to the offsets that its restored state names, and nothing else may.
* Records are read committed, because raw topics may and `usage.events` does come from transactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiokafka
from aiokafka.structs import TopicPartition
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from .assignor import assignor_for
from .lanes.base import Batch, Lane
from .reach import client_settings

__all__ = ["Consumer", "Transport"]



def _host(app: Any) -> Any:
    """The worker that an app belongs to (streams.app.RatemillWorker)."""
    return app.ratemill


# Ends a fetch early enough to keep batches in the processor's cache.
RECORDS_PER_FETCH = 4_000


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka; only how its consumer is made differs."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        host = _host(transport.app)
        kafka = host.config.kafka
        self._assignor = assignor_for(host.name, frozenset(host.topics.rate_sources))
        return aiokafka.AIOKafkaConsumer(
            **client_settings(kafka),
            client_id=f"ratemill-{host.name}",
            group_id=kafka.group_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=RECORDS_PER_FETCH,
            # Only this side looks at it: a lane that waits for Elasticsearch must not lose the other partitions.
            max_poll_interval_ms=2**31 - 1,
            max_partition_fetch_bytes=1 << 20,
            fetch_max_wait_ms=250,
            request_timeout_ms=40_000,
            session_timeout_ms=int(kafka.session_timeout_s * 1_000),
            heartbeat_interval_ms=int(kafka.session_timeout_s * 1_000 / 5),
            rebalance_timeout_ms=int(kafka.session_timeout_s * 3_000),
            metadata_max_age_ms=60_000,
        )

    def refusal(self) -> BaseException | None:
        """What keeps this consumer out of its group; the library raises it from the next fetch, and without partitions there is none."""
        return None if self._consumer is None else self._consumer._coordinator._pending_exception


class Consumer(driver.Consumer):
    """Hands out batches for lanes."""

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def check(self) -> None:
        """Raise what keeps the worker out of its group (`ConsumerThread.refusal`)."""
        if (refusal := self._thread.refusal()) is not None:
            raise refusal

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:
        host = _host(self.app)
        asked: dict[TP, tuple[Lane, int]] = {}
        for tp in active_partitions or ():
            lane = host.lane_of(tp)
            if lane is not None and lane.room():
                asked[tp] = (lane, lane.incarnation)
        if not asked:
            # An empty set would mean "all partitions" to aiokafka.
            await self.sleep(0.02)
            return {}
        fetched = await super()._getmany(active_partitions=set(asked), timeout=min(timeout, 0.1))
        batches: dict[TP, list[Any]] = {}
        for tp, records in fetched.items():
            lane, incarnation = asked[TP(tp.topic, tp.partition)]
            if not records:
                continue
            source = TopicPartition(tp.topic, tp.partition)
            if lane.incarnation == incarnation:
                batches[tp] = [Batch(incarnation, lane.serial(source), source, records)]
            elif (current := host.lane_of(TP(tp.topic, tp.partition))) is not None:
                current.stray(source)
        return batches

    def _to_message(self, tp: TP, batch: Batch) -> Any:
        last = batch.records[-1]
        # Faust expects bytes for a value, but only its serializers look at it, and "raw" does nothing.
        message: Any = ConsumerMessage
        return message(
            tp.topic, tp.partition, last.offset, last.timestamp / 1_000.0, last.timestamp_type, [], None, batch, None, 0, 0, tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        return True

    def _new_offset(self, tp: TP) -> int | None:
        # Faust keeps every acknowledged offset until it commits; it never does here, so forget them.
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return None

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Batches leave gaps between their last offsets by design."""

    async def perform_seek(self) -> None:
        """Lanes seek."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust looks at its own commits here, and would log every partition as stuck after five minutes; lag is in the metrics."""

    def on_buffer_full(self, tp: TP) -> None:
        """Back-pressure is the lanes' business."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Back-pressure is the lanes' business."""


class Transport(driver.Transport):
    """`ratemill://host:port`, found by Faust through the entry point `faust.transports`."""

    Consumer = Consumer
    Conductor = Conductor
