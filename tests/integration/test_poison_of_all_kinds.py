"""Records that no decoder, no dead letter or no topic would take whole: each becomes dead letters within bounds, and its partition goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from harness.workers import Bed, bed
from ratemill.local.stack import Stack
from ratemill.schemas.dead_letter import from_kafka

pytestmark = pytest.mark.integration

MIB = 1 << 20


def plain(number: int, time: str = "2026-11-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    data = {"sku": "s", "quantity": "1", "unit": "u"}
    return {"specversion": "1.0", "id": f"p{number}", "source": "poison", "type": "t", "subject": "poisoner", "time": time, "data": data, **more}


def operation(values: int) -> bytes:
    labels = {f"l{n}": "x" * 1_000 for n in range(60)}
    its = {"operationId": "o", "consumerId": "c", "startTime": "2026-11-01T00:00:00Z", "labels": labels}
    return json.dumps({**its, "metricValueSets": [{"metricName": "m", "metricValues": [{"int64Value": "1"}] * values}]}).encode()


# What is sent, and the reason and number of the dead letters that it becomes.
POISON: dict[str, tuple[bytes, list[tuple[str, bytes | None]], str, int]] = {
    "brackets": (b"[" * MIB, [], "too_deep", 1),
    "empty objects": (b"[" + b"{}," * (MIB // 3 - 2) + b"{}]", [], "too_large", 1),
    "bad events": (json.dumps([plain(n, time="never", x="y" * 300) for n in range(2_000)]).encode(), [], "bad_time", 2_000),
    "old events": (json.dumps([plain(n, time="2020-01-01T00:00:00Z") for n in range(4_000)]).encode(), [], "too_old", 4_000),
    "labels": (operation(9_000), [("ratemill-format", b"gcp-service-control")], "too_large", 1),
    "header without a value": (b"{}", [("ratemill-format", None), ("content-type", None)], "not_supported", 1),
    "many headers": (b"{}", [("h", None)] * 200_000, "too_large", 1),
    "as large as the topic takes": (b"x" * ((17 << 20) - 200), [], "too_large", 1),
    "larger, and packed": (b"x" * (40 * MIB), [], "too_large", 1),
}


async def send(b: Bed, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=b.config.kafka.bootstrap, compression_type="gzip", max_request_size=64 * MIB)
    await producer.start()
    for value, headers, _, _ in POISON.values():
        await producer.send_and_wait(b.topic(topic), value, b"poisoner", partition=0, headers=headers)
    await producer.stop()


@pytest.mark.parametrize("topic", ["usage.raw.direct", "usage.raw.cloudevents"])
async def test_poison_of_all_kinds_becomes_dead_letters_and_stops_nothing(stack: Stack, tmp_path: Path, topic: str) -> None:
    async with bed(stack, tmp_path, seed=7, count=400) as b:
        worker = b.worker("a", agents=("normalize", "rate"))
        await send(b, topic)
        b.start_traffic(per_second=1_000)  # behind the poison, in the same partitions too
        await b.settle(agents=("normalize", "rate"))
        assert worker.status is None
        assert worker.logged("partition_starts_again") == 0
        letters = [from_kafka(record.key, record.value, record.headers) for record in await b.read("usage.dead-letter")]
        by_offset: dict[int, list[Any]] = {}
        for letter in letters:
            if letter.topic == b.topic(topic) and letter.partition == 0 and letter.offset < len(POISON):
                by_offset.setdefault(letter.offset, []).append(letter)
        for offset, (name, (value, _, reason, number)) in enumerate(POISON.items()):
            found = by_offset[offset]
            assert {letter.reason.value for letter in found} == {reason}, name
            assert len(found) == number, name
            assert [letter.index for letter in found] == list(range(number)), name
            assert found[0].value == value or found[0].cut >= len(value) or number > 1, name
            assert sum(len(letter.value or b"") for letter in found) <= 17 * MIB, name
        for lane in (await b.progress()).values():
            for its in lane["sources"].values():
                get = its.get
                assert get("received", 0) == get("counted", 0) + get("duplicates", 0) + get("dead_lettered", 0)
