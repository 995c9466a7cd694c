"""An event hub by its Kafka endpoint (SASL_SSL, PLAIN, `$ConnectionString`): everything is carried over, also when the collector dies in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord
from harness.commands import leaks
from harness.secure_kafka import CONNECTION, SecureKafka
from harness.topics import make_topic
from harness.zygote import RATEMILL, run
from ratemill.collectors.event_hubs import EventHub, relay
from ratemill.local.stack import Stack
from ratemill.schemas.decoders.registry import decode_record
from ratemill.schemas.errors import AccessDenied, BadInput, Unavailable
from ratemill.schemas.usage_event import UsageEvent

pytestmark = pytest.mark.integration

COUNT, PARTITIONS = 40, 2


def metrics(number: int) -> bytes:
    """A record of a diagnostic setting."""
    record = {
        "time": f"2026-11-27T10:{number:02}:00.0000000Z", "metricName": "ByteCount", "timeGrain": "PT1M", "count": 2, "total": number,
        "resourceId": "/SUBSCRIPTIONS/0000/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.NETWORK/LOADBALANCERS/LB",
    }  # fmt: skip
    return json.dumps({"records": [record]}).encode()


async def filled(kafka: SecureKafka) -> None:
    """Make the hub `usage`, and send records to it."""
    await make_topic(kafka.plain, "usage", 3)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.plain, acks="all")
    await producer.start()
    for number in range(COUNT):
        await producer.send_and_wait("usage", metrics(number), partition=number % 3)
    await producer.stop()


async def raw(stack: Stack, topic: str) -> list[ConsumerRecord[Any, Any]]:
    """Everything in a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(tps)
        ends, found = await consumer.end_offsets(tps), list[ConsumerRecord[Any, Any]]()
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
        return found
    finally:
        await consumer.stop()


def ids(records: list[ConsumerRecord[Any, Any]]) -> list[str]:
    """Of the events that a worker makes of them."""
    found = []
    for record in records:
        for entry in decode_record("azure", record.value, record.headers):
            assert isinstance(entry, UsageEvent), entry
            found.append(entry.id)
    return found


def test_a_hub_is_carried_over_and_a_killed_collector_goes_on(secure_kafka: SecureKafka, stack: Stack, tmp_path: Path) -> None:
    asyncio.run(filled(secure_kafka))
    name = f"hub{uuid.uuid4().hex[:8]}"
    hub = EventHub(CONNECTION + "usage", group="killed", bootstrap=secure_kafka.address("SECURE"), ca_file=str(secure_kafka.ca_file))
    assert "canary" not in repr(hub)
    (tmp_path / "hub.txt").write_text(CONNECTION + "usage\n")
    settings = {"RATEMILL_KAFKA__BOOTSTRAP": stack.kafka, "RATEMILL_KAFKA__TOPIC_PREFIX": f"{name}.", "RATEMILL_KAFKA__PARTITIONS": str(PARTITIONS)}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RATEMILL_")} | settings
    place = ("--bootstrap", secure_kafka.address("SECURE"), "--ca-file", str(secure_kafka.ca_file), "--connection-file", str(tmp_path / "hub.txt"))

    def collect(*more: str) -> str:
        done = run(*RATEMILL, "collect", "event-hubs", "--once", *place, *more, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert leaks(done.stdout + done.stderr, ["canary-0bc1="]) == []
        return done.stdout

    assert f"carried over {COUNT} records of usage to {name}.usage.raw.azure" in collect()
    assert "carried over 0 records" in collect(), "it goes on where it was"
    found = asyncio.run(raw(stack, f"{name}.usage.raw.azure"))
    assert sorted(record.value for record in found) == sorted(metrics(number) for number in range(COUNT)), "as they are"
    assert len(set(ids(found))) == COUNT

    kafka = {"bootstrap_servers": stack.kafka}
    child = os.fork()
    if child == 0:  # it dies when the first batch is in Kafka and not committed
        try:
            asyncio.run(relay(hub, kafka, f"{name}.usage.raw.azure", [], to_end=True, step=lambda _: os.kill(os.getpid(), signal.SIGKILL)))
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    count = asyncio.run(relay(hub, kafka, f"{name}.usage.raw.azure", [], to_end=True))
    assert count == COUNT
    again = ids(asyncio.run(raw(stack, f"{name}.usage.raw.azure")))
    assert len(again) > 2 * COUNT, "some are there once more"
    assert set(again) == set(ids(found)), "with the ids that they had: they count once"


def test_who_may_not_is_told_so(secure_kafka: SecureKafka) -> None:
    wrong = CONNECTION.replace("canary-0bc1=", "canary-wrong=") + "usage"
    for hub, error in (
        (EventHub(wrong, bootstrap=secure_kafka.address("SECURE"), ca_file=str(secure_kafka.ca_file)), AccessDenied),
        (EventHub(CONNECTION + "usage", bootstrap=secure_kafka.address("SECURE")), AccessDenied),  # its certificate is not trusted
        (EventHub(CONNECTION + "usage", bootstrap="127.0.0.1:9"), Unavailable),
    ):
        with pytest.raises(error) as raised:
            asyncio.run(relay(hub, {"bootstrap_servers": "127.0.0.1:9"}, "t", [], to_end=True))
        assert "canary" not in str(raised.value)
    for text in ("", "Endpoint=sb://ns.example.net/", CONNECTION.replace("EntityPath=", ""), CONNECTION):
        with pytest.raises(BadInput):
            EventHub(text)
    assert EventHub(CONNECTION, "usage").bootstrap == "ns.example.net:9093"
