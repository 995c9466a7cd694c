"""The SDK on a real Kafka and a real API: killed at random points while it publishes, all is counted once."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from harness.collecting import api_of, kill_and_restart, missing, start_of, target_of
from harness.topics import make_topic
from harness.traffic import DIRECT, HOPPED
from harness.verdict import outcome, verify
from harness.workers import Bed, bed
from ratemill.collectors.sdk import Event, HttpTarget, KafkaTarget, Publisher, usage
from ratemill.local.stack import Stack
from ratemill.schemas.decoders.registry import decode
from ratemill.schemas.usage_event import UsageEvent, identify

pytestmark = pytest.mark.integration

EVENTS, KILLS = 8_000, 8
EXAMPLE = Path(__file__).parents[2] / "examples" / "collector.py"


async def published(b: Bed, name: str, target: dict[str, str], topic: str, broken: str = "", seed: int = 1) -> tuple[list[str], int]:
    """What was wrong on the raw topic after all the kills, and how many events a kill found undelivered."""
    folder = b.folder / name
    folder.mkdir()
    killed = await asyncio.to_thread(kill_and_restart, folder, target, name, EVENTS, KILLS, seed, start_of(), broken)
    wrong, repeated = missing(await b.read(topic), name, EVENTS)
    undelivered = sum(each["waiting"] for each in killed.found[1:])
    print(f"{name}: {killed.kills} kills, {undelivered} undelivered at them, {repeated} sent again; {killed.found}")
    assert killed.kills == KILLS
    return wrong, undelivered


async def test_a_collector_killed_at_random_points_is_counted_once(stack: Stack, tmp_path: Path) -> None:
    """Over Kafka and over HTTP, from accepted to line items; and two that are broken are caught by the same comparison."""
    async with bed(stack, tmp_path, seed=300) as b:
        api = api_of(b, tmp_path / "api")
        try:
            for name, target, topic in (("kafka", target_of(b, DIRECT), DIRECT), ("http", target_of(b, HOPPED, api), HOPPED)):
                wrong, undelivered = await published(b, name, target, topic)
                assert wrong == []
                assert undelivered > 0, "no kill fell between accepted and delivered"
        finally:
            api.stop()
        worker = b.worker("a")
        await b.caught_up(90)
        assert await worker.terminate() == 0
        await verify(b)
        assert (await outcome(b, elasticsearch=False)).wanted.unique == 2 * EVENTS
        for broken in ("settle_first", "accept_first"):
            wrong, _ = await published(b, broken, target_of(b, DIRECT), DIRECT, broken)
            assert any(line.startswith("lost") for line in wrong), f"{broken} is not caught"


async def small_topic(b: Bed, most_bytes: int) -> str:
    """A topic of one partition that takes no larger batch."""
    await make_topic(b.stack.kafka, b.topic("small"), settings={"max.message.bytes": str(most_bytes)})
    return b.topic("small")


def reading(n: int, note: str = "") -> Event:
    return usage(account="acme", source="s", id=f"{n}", time=start_of(), sku="cpu.hours", unit="Hours", quantity=1, tags={"note": note})


async def test_what_a_server_will_never_take_is_kept_with_the_reason_and_the_rest_is_delivered(stack: Stack, tmp_path: Path) -> None:
    """An event larger than the topic allows among others of its account, and an event that the API rejects."""
    async with bed(stack, tmp_path, seed=301, prices=None) as b:
        noise = random.Random(1).randbytes(3_000).hex()  # does not become small by compression
        topic = await small_topic(b, 2_000)
        with Publisher(KafkaTarget(stack.kafka, topic), tmp_path / "kafka", linger_s=0.5) as publisher:
            publisher.put_many([reading(1), reading(2, noise[:1_024]), reading(3, noise[:1_024]), reading(4)])
            publisher.put_many([Event("acme", reading(5).body[:-1] + b',"x":"' + noise.encode() + b'"}'), reading(6)])
            assert await asyncio.to_thread(publisher.flush, 60)
            assert [(each.reason, each.body[:40] in reading(5).body) for each in publisher.refused()] == [("too_large", True)]
        found = await read_one(stack, topic)
        assert {e.id for e in found} == {"1", "2", "3", "4", "6"}
        api = api_of(b, tmp_path / "api")
        try:
            target = HttpTarget(api.url, key=api.token("events:write", account="acme"))
            with Publisher(target, tmp_path / "http") as publisher:
                others = usage(account="other", source="s", id="9", time=start_of(), sku="cpu.hours", unit="Hours", quantity=1)
                old = usage(account="acme", source="s", id="old", time=0, sku="k", unit="u", quantity=1, backfill="b1")
                publisher.put_many([reading(7), others, old])
                assert await asyncio.to_thread(publisher.flush, 60)
                assert sorted((each.account, each.reason) for each in publisher.refused()) == [("acme", "bad_time"), ("other", "forbidden_account")]
                assert publisher.metrics().delivered_events == 1
        finally:
            api.stop()
        assert [json.loads(r.value or b"")["id"] for r in await b.read(HOPPED)] == ["7"]


async def read_one(stack: Stack, topic: str) -> list[UsageEvent]:
    """The usage events in a topic of one partition."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        (tp,) = consumer.assignment()
        (end,) = (await consumer.end_offsets([tp])).values()
        found: list[UsageEvent] = []
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(timeout_ms=200)).get(tp, []):
                found += [e for e in decode(record.value, (), "cloudevents") if isinstance(e, UsageEvent)]
    finally:
        await consumer.stop()
    return found


async def test_the_smallest_collector_counts_once_however_often_it_runs(stack: Stack, tmp_path: Path) -> None:
    assert len([line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith(('"""', "#"))]) <= 10
    async with bed(stack, tmp_path, seed=302, prices=None) as b:
        topic = await small_topic(b, 100_000)
        for _ in range(2):
            command = [sys.executable, str(EXAMPLE), f"kafka://{stack.kafka}/{topic}", str(tmp_path / "spool")]
            said = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
            assert (said.returncode, said.stderr) == (0, "")
        first, second = await read_one(stack, topic)
        assert identify(first) == identify(second)
        assert (first.account, str(first.quantity), first.unit, first.resource) == ("acme", "12.5", "GB-Mo", "disk-7")


async def test_kafka_that_is_away_is_waited_for_and_said(stack: Stack, tmp_path: Path) -> None:
    """No server at all, and a topic that is not there."""
    for target in (KafkaTarget("127.0.0.1:1"), KafkaTarget(stack.kafka, f"no-{uuid.uuid4().hex}", request_timeout_s=1)):
        with Publisher(target, tmp_path / "spool", linger_s=0) as publisher:
            publisher.put(reading(1))
            deadline = time.monotonic() + 60
            while not (failure := publisher.metrics().failure):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            assert failure.startswith(f"Kafka at {target.bootstrap}, topic {target.topic}: ")
            assert publisher.metrics().waiting_events > 0
            publisher.close(0)
