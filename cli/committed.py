"""Reading a topic to its end, by other code than that which rates, so that one can check the other."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ..schemas.errors import Unavailable
from ..streams.config import Config
from ..streams.reach import client_settings
from ..streams.topics import existing_topics

__all__ = ["CommittedTopic"]

_SILENT_S = 60.0


class CommittedTopic:
    """The committed records of a topic. Each `read` goes on where the one before ended.

    tell: called with (offsets read, offsets there are). last: offset of the last record of each partition that had one.
    """

    def __init__(self, config: Config, topic: str, tell: Callable[[int, int], None] = lambda done, total: None) -> None:
        self._config, self._topic, self._tell = config, topic, tell
        self._positions: dict[TopicPartition, int] = {}
        self.last: dict[TopicPartition, int] = {}

    async def read(self) -> AsyncIterator[Any]:
        """All records from where the last read ended up to the end as of now. Raises Unavailable."""
        kafka, counts = self._config.kafka, await existing_topics(self._config, [self._topic])
        if self._topic not in counts:
            raise Unavailable(f"topic {self._topic} is not there; start `ratemill worker`: the first one makes it")
        tps = [TopicPartition(self._topic, number) for number in range(counts[self._topic])]
        consumer = AIOKafkaConsumer(
            **client_settings(kafka), enable_auto_commit=False, isolation_level="read_committed", auto_offset_reset="earliest"
        )  # fmt: skip
        try:
            await consumer.start()
            consumer.assign(tps)
            ends, begins = await consumer.end_offsets(tps), await consumer.beginning_offsets(tps)
            self._positions = {tp: max(self._positions.get(tp, 0), begins[tp]) for tp in tps}
            total = sum(ends[tp] - self._positions[tp] for tp in tps)
            for tp, position in self._positions.items():
                consumer.seek(tp, position)
            heard_at = time.monotonic()
            # The position passes transaction markers, which are offsets but never records.
            while unread := [tp for tp in tps if self._positions[tp] < ends[tp]]:
                for tp, records in (await consumer.getmany(*unread, timeout_ms=200, max_records=5_000)).items():
                    for record in records:
                        yield record
                    self.last[tp] = records[-1].offset
                before = dict(self._positions)
                self._positions = {tp: await consumer.position(tp) for tp in tps}
                self._tell(total - sum(max(0, ends[tp] - self._positions[tp]) for tp in tps), total)
                if self._positions != before:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > _SILENT_S:
                    raise Unavailable(f"topic {self._topic}: nothing came for {_SILENT_S:.0f} s; `ratemill transactions list` shows what may hang")
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka at {kafka.bootstrap}: {error!r}") from error
        finally:
            await consumer.stop()
