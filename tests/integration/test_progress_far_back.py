"""A lane's last progress is found wherever in the log it lies, and reading begins near the end when it lies there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from harness.topics import make_topic
from ratemill.local.stack import Stack
from ratemill.streams import restore
from ratemill.streams.config import KafkaConfig
from ratemill.streams.progress import Progress, encode_progress

pytestmark = pytest.mark.integration

TOPIC = "progress-far-back"
BUSY, IDLE, NEVER = "rate-0", "index-0", "normalize-0"


async def test_the_last_progress_is_found_from_the_end(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = KafkaConfig(bootstrap=stack.kafka)
    await make_topic(stack.kafka, TOPIC)
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka)
    await producer.start()
    lanes = [IDLE, IDLE, *[BUSY] * 500]
    for revision, lane in enumerate(lanes, 1):
        await producer.send(TOPIC, encode_progress(Progress(lane, revision)), lane.encode(), 0)
    await producer.stop()

    begun: list[int] = []
    whole = restore.read_to_end

    def noted(config: KafkaConfig, starts: Mapping[TopicPartition, int], *known: Any) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
        begun.extend(starts.values())
        return whole(config, starts, *known)

    monkeypatch.setattr(restore, "read_to_end", noted)
    monkeypatch.setattr(restore, "NEWEST", 10)
    found = [await restore.read_progress(kafka, TOPIC, 0, lane) for lane in (BUSY, IDLE, NEVER)]
    assert [(p.lane, p.revision) for p in found] == [(BUSY, 502), (IDLE, 2), (NEVER, 0)]
    assert begun[0] == 492
    assert begun[1:] == [492, 342, 0, 492, 342, 0]
