"""The topic `ratemill.control`: what people asked for, in the order in which every rate lane applies it, and the receipts.

One partition, kept forever, so its offsets number the requests. A request with an id that was there before is the same request
again (its sender did not learn that it had arrived): the first one holds.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from ..schemas.control import Amend, Close, ControlRecord, Receipt, Request, Rerate, decode_control, encode_control
from ..schemas.errors import BadInput, Unavailable
from .config import Config
from .following import Follower
from .reach import client_settings, not_allowed
from .restore import read_to_end
from .topics import Topics, ensure_topics, existing_topics, partition_of

__all__ = ["Controls", "load_controls", "partitions_concerned", "publish_control", "wait_for_receipts"]


async def publish_control(config: Config, record: Request) -> int:
    """Put a request into the log; returns its offset. Raises Unavailable; then sending the same request again is safe."""
    topic = Topics.of(config.kafka).control
    await ensure_topics(config, {topic})
    producer = AIOKafkaProducer(**client_settings(config.kafka), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        sent = await producer.send_and_wait(topic, encode_control(record), key=record.id.encode(), partition=0)
    except (KafkaError, OSError) as error:
        raise not_allowed(config.kafka, error) or Unavailable(
            f"Kafka at {config.kafka.bootstrap}: {error!r}; perhaps nothing was recorded: look at `ratemill control list` before you repeat it"
        ) from error
    finally:
        await producer.stop()
    offset: int = sent.offset
    return offset


def partitions_concerned(config: Config, request: Request) -> list[int]:
    """Partitions whose receipts tell what came of a request: that of its account, where it is about one, else all."""
    account = request.original.account if isinstance(request, Amend) else request.account if isinstance(request, Rerate) else ""
    return [partition_of(account, config.kafka.partitions)] if account else list(range(config.kafka.partitions))


class Controls(Follower):
    """All requests and receipts, kept up to date in the background. One per worker."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, Topics.of(config.kafka).control, "control")
        self._requests: list[tuple[int, Request]] = []
        self._places: dict[str, int] = {}  # control id -> place in the list above
        self._receipts: dict[str, dict[int, Receipt]] = {}
        self.changed = asyncio.Event()  # set with the next record; ask for it again after each wait, as each is set once

    def record(self, record: Any) -> None:
        self.take(record.offset, record.value)

    @property
    def requests(self) -> list[tuple[int, Request]]:
        """All requests known, (offset, request), in log order."""
        return list(self._requests)

    def requests_from(self, offset: int) -> list[tuple[int, Request]]:
        """Requests at this offset and behind it, (offset, request), in log order."""
        return self._requests[bisect_left(self._requests, offset, key=lambda pair: pair[0]) :]

    def request(self, control_id: str) -> Request | None:
        """The request with an id."""
        place = self._places.get(control_id)
        return None if place is None else self._requests[place][1]

    def receipt(self, control_id: str, partition: int) -> Receipt | None:
        """What a partition made of a request; None while it has not answered."""
        return self._receipts.get(control_id, {}).get(partition)

    def receipts(self, control_id: str) -> dict[int, Receipt]:
        """All receipts of a request, by partition."""
        return dict(sorted(self._receipts.get(control_id, {}).items()))

    def closed_through(self, partitions: int) -> Receipt | None:
        """The receipt that completed the last close which every partition has answered; None while there is none."""
        found: Receipt | None = None
        for _, request in self._requests:
            receipts = self._receipts.get(request.id, {})
            if isinstance(request, Close) and len(receipts) >= partitions:
                last = max(receipts.values(), key=lambda receipt: receipt.at_ns)
                if found is None or last.closed_through > found.closed_through:
                    found = last
        return found

    def take(self, offset: int, value: bytes | None) -> None:
        """Take a record of the topic in. What is not a control record is logged and left out. Raises NewerSchema."""
        try:
            record: ControlRecord = decode_control(value or b"", f"the request or receipt at {self._topic}/0/{offset}")
        except BadInput as error:
            self._log.error("control_record_refused", topic=self._topic, offset=offset, detail=str(error))
            return
        if isinstance(record, Receipt):
            self._receipts.setdefault(record.control_id, {})[record.partition] = record
        elif record.id in self._places:
            return
        else:
            self._places[record.id] = len(self._requests)
            self._requests.append((offset, record))
        self.halted()

    def halted(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


async def load_controls(config: Config) -> Controls:
    """All requests and receipts as of now. Raises KafkaError, Unsettled."""
    controls = Controls(config)
    topic = Topics.of(config.kafka).control
    if await existing_topics(config, {topic}):
        async for _, records in read_to_end(config.kafka, {TopicPartition(topic, 0): 0}):
            for record in records:
                controls.take(record.offset, record.value)
    return controls


async def wait_for_receipts(
    config: Config, control_id: str, partitions: Collection[int], timeout_s: float, progress: Callable[[dict[int, Receipt]], Any] = lambda _: None
) -> dict[int, Receipt]:
    """Receipts of these partitions, by partition; after the timeout those that came. `progress` is told them whenever one more came."""
    controls, wanted = Controls(config), set(partitions)

    def found() -> dict[int, Receipt]:
        return {number: receipt for number, receipt in controls.receipts(control_id).items() if number in wanted}

    async def wait() -> None:
        seen = 0
        while seen < len(wanted):
            changed = controls.changed
            controls.check()
            if len(receipts := found()) > seen:
                seen = len(receipts)
                progress(receipts)
            else:
                await changed.wait()

    controls.start()
    try:
        async with asyncio.timeout(timeout_s):
            await wait()
    except TimeoutError:
        pass
    finally:
        await controls.stop()
    return found()
