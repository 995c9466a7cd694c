"""SIGTERM: what was taken is committed, the group is left, and the process ends within its bound, whoever does not answer."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from harness.traffic import DIRECT, PARTITIONS, PRICES
from harness.verdict import verify
from harness.workers import Bed, Worker, bed, until
from ratemill.local.ports import free_ports
from ratemill.local.stack import Stack
from ratemill.streams.stopping import SHUTDOWN_S

pytestmark = pytest.mark.integration

STAGES = ("lanes_ended", "group_left", "worker_stopped", "worker_ends_unfinished")
SELDOM = {"RATEMILL_RATING__COMMIT_INTERVAL_S": "60", "RATEMILL_RATING__CATCH_UP_INTERVAL_S": "60"}


async def stop(worker: Worker, number: int = signal.SIGTERM) -> float:
    """Ask a worker to end; how many seconds it took. It must end well, and within the bound."""
    began = time.monotonic()
    worker.signal(number)
    status = await worker.ended()
    seconds = time.monotonic() - began
    stages = {name: said[0]["seconds"] for name in STAGES if (said := worker.said(name))}
    print(f"ended after {seconds:.1f} s; {stages}")
    assert status == 0, f"status {status}; see {worker.log}"
    assert seconds < SHUTDOWN_S, f"{seconds:.1f} s: {stages}; see {worker.log}"
    return seconds


async def received(port: int, agent: str, topic: str) -> int:
    """Events that a worker has taken from a topic, from its metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    found = re.search(rf'^ratemill_events_received_total{{agent="{agent}",topic="{re.escape(topic)}"}} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


async def none_open(b: Bed) -> None:
    """Assert that no transaction was left open. (Brokers take a moment to end one in every partition, and a minute to give one up.)"""
    deadline = time.monotonic() + 20
    while found := await b.open_transactions():
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.2)


async def taken_then_stopped(b: Bed, breaks: list[str]) -> tuple[int, int]:
    """A worker that commits once a minute is stopped in between: events that it had taken, and events that it then committed."""
    (port,) = free_ports(1)
    worker = b.worker("a", breaks=breaks, settings={**SELDOM, "RATEMILL_WORKER__METRICS_PORT": str(port)})
    await worker.ready()
    b.start_traffic(per_second=5_000)
    await b.traffic_done()
    events = len([m for m in b.traffic if m.topic == DIRECT])
    deadline = time.monotonic() + 30
    while (taken := await received(port, "rate", b.topic(DIRECT))) < events:
        assert time.monotonic() < deadline, f"took {taken} of {events} events"
        await asyncio.sleep(0.1)
    assert await b.rated() == 0, "committed before it was asked to"
    await stop(worker)
    await none_open(b)
    return taken, await b.rated()


async def test_what_was_taken_is_committed(stack: Stack, tmp_path: Path) -> None:
    """All of it, although no commit was due; the next worker goes on from there."""
    async with bed(stack, tmp_path, seed=120, count=3_000) as b:
        taken, committed = await taken_then_stopped(b, [])
        assert committed == taken
        b.worker("a")
        await b.settle()
        await verify(b)


async def test_a_worker_that_drops_what_it_has_taken(stack: Stack, tmp_path: Path) -> None:
    """The control of the test above."""
    async with bed(stack, tmp_path, seed=120, count=3_000) as b:
        taken, committed = await taken_then_stopped(b, ["drops_pending"])
        assert committed == 0 < taken


async def test_others_take_over_at_once(stack: Stack, tmp_path: Path) -> None:
    """The group is left: the partitions do not wait for a session timeout of a minute. A killed worker's do."""
    async with bed(stack, tmp_path, seed=121, count=4_000, session_timeout_s=60) as b:
        first, second = b.worker("a"), b.worker("b")
        await first.ready(lanes=3 * PARTITIONS // 2)
        await second.ready(lanes=3 * PARTITIONS // 2)
        b.start_traffic(per_second=200)
        await b.rated_beyond(200)
        owned = second.logged("partition_owned")
        await stop(first)
        await until(lambda: second.logged("partition_owned") >= owned + 3 * PARTITIONS, 30, f"no takeover; see {second.log}")
        assert b.mid_run
        third = b.worker("a")
        await third.ready(lanes=3 * PARTITIONS // 2)
        shared = owned + 3 * PARTITIONS + 3 * PARTITIONS // 2
        await until(lambda: second.logged("partition_owned") >= shared, 30, f"did not share again; see {second.log}")
        owned = second.logged("partition_owned")
        await third.kill()
        await asyncio.sleep(15)
        assert second.logged("partition_owned") == owned, "the control: nobody hears of a kill before the session is over"


async def test_under_full_load(stack: Stack, tmp_path: Path) -> None:
    """In the middle of a backlog, after what was read of it and before the rest."""
    async with bed(stack, tmp_path, seed=122, count=12_000) as b:
        b.start_traffic(per_second=50_000)
        await b.traffic_done()
        worker = b.worker("a")
        await worker.ready()
        await b.rated_beyond(0)
        await stop(worker)
        b.worker("a")
        await b.settle()
        await verify(b)


@pytest.mark.parametrize("service", ["elasticsearch", "kafka"])
async def test_while_a_service_does_not_answer(stack: Stack, tmp_path: Path, service: str) -> None:
    """Paused with SIGSTOP: connections stand, and nothing comes."""
    async with bed(stack, tmp_path, seed=123, count=6_000) as b:
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(per_second=300)
        await b.rated_beyond(200)
        b.hold_traffic()
        stack.pause(service)
        try:
            await asyncio.sleep(2)
            await stop(worker)
        finally:
            stack.resume(service)
        b.resume_traffic()
        b.worker("a")
        await b.settle()
        await verify(b)


@pytest.mark.parametrize("service", ["elasticsearch", "kafka"])
async def test_while_a_service_is_away(stack: Stack, tmp_path: Path, service: str) -> None:
    """Killed: nobody listens."""
    async with bed(stack, tmp_path, seed=124, count=6_000) as b:
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(per_second=300)
        await b.rated_beyond(200)
        b.hold_traffic()
        await asyncio.sleep(1)
        stack.kill(service)
        try:
            await asyncio.sleep(2)
            await stop(worker)
        finally:
            await asyncio.to_thread(stack.restart, service)
        b.resume_traffic()
        b.worker("a")
        await b.settle()
        await verify(b)


@pytest.mark.parametrize("after_s", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("kafka", ["answers", "paused"])
async def test_while_it_starts(stack: Stack, tmp_path: Path, after_s: float, kafka: str) -> None:
    """Before it has joined the group, or while it does; also when Kafka never lets it."""
    async with bed(stack, tmp_path, seed=125, count=0) as b:
        if kafka == "paused":
            stack.pause("kafka")
        try:
            worker = b.worker("a")
            await until(lambda: worker.logged("checks_topics") or worker.status is not None, 30, f"does not start; see {worker.log}")
            await asyncio.sleep(after_s)
            await stop(worker)
        finally:
            if kafka == "paused":
                stack.resume("kafka")


@pytest.mark.parametrize("point", ["after_fence", "after_restore"])
async def test_while_it_takes_over(stack: Stack, tmp_path: Path, point: str) -> None:
    """Fenced its predecessor and not restored yet; restored and not begun."""
    async with bed(stack, tmp_path, seed=126, count=0) as b:
        worker = b.worker("a", failpoints=[{"point": point, "lane": "rate-0", "after": 1, "action": "wait", "seconds": 60}])
        await until(lambda: worker.logged("failpoint"), 30, f"not there; see {worker.log}")
        await stop(worker)


async def test_while_it_restores_from_a_paused_kafka(stack: Stack, tmp_path: Path) -> None:
    """Reading the changelogs when Kafka falls silent."""
    async with bed(stack, tmp_path, seed=127, count=0) as b:
        worker = b.worker("a", failpoints=[{"point": "after_fence", "lane": "rate-", "after": 1, "action": "wait", "seconds": 1.5}])
        await until(lambda: worker.logged("failpoint"), 30, f"not there; see {worker.log}")
        stack.pause("kafka")
        try:
            await asyncio.sleep(3)
            await stop(worker)
        finally:
            stack.resume("kafka")


async def test_in_a_sweep(stack: Stack, tmp_path: Path) -> None:
    """A price book is being taken over, two groups a commit; the next worker finishes that."""
    async with bed(stack, tmp_path, seed=128, count=3_000) as b:
        worker = b.worker("a", step=2)
        await worker.ready()
        b.start_traffic(per_second=5_000)
        await b.settle()
        changed = [dict(p) | ({"unit_price": "0.015"} if p["model"] == "unit" else {}) for p in PRICES]
        digest = await b.publish_prices(changed)
        deadline = time.monotonic() + 30
        swept: list[Any] = []
        while not swept:
            swept = [p for p in (await b.progress()).values() if p.get("repricing") and p.get("repriced")]
            assert time.monotonic() < deadline, "no sweep began"
        await stop(worker)
        left = [p for p in (await b.progress()).values() if p.get("repricing")]
        assert left, "the sweep had ended by itself"
        await none_open(b)
        b.worker("a")
        await b.priced_by(digest)
        await b.settle()
        await verify(b)


async def test_while_it_is_fenced(stack: Stack, tmp_path: Path) -> None:
    """It has found that another one holds the partition, and waits whether it still owns it."""
    async with bed(stack, tmp_path, seed=129, count=4_000, session_timeout_s=20) as b:
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(per_second=300)
        await b.rated_beyond(100)
        thief = AIOKafkaProducer(bootstrap_servers=stack.kafka, transactional_id=f"{b.config.kafka.group_id}-rate-0")
        await thief.start()
        await thief.stop()
        await until(lambda: worker.logged("fenced"), 30, f"not fenced; see {worker.log}")
        await stop(worker)
        b.worker("a")
        await b.settle()
        await verify(b)


async def test_a_second_signal_ends_at_once(stack: Stack, tmp_path: Path) -> None:
    """Whatever it waits for; the status tells of the signal. Nothing is lost by it."""
    async with bed(stack, tmp_path, seed=130, count=3_000) as b:
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(per_second=300)
        await b.rated_beyond(100)
        b.hold_traffic()
        stack.pause("kafka")
        try:
            worker.signal(signal.SIGTERM)
            await asyncio.sleep(1)
            assert worker.status is None
            worker.signal(signal.SIGINT)
            assert await worker.ended(within_s=3) == 128 + signal.SIGINT
        finally:
            stack.resume("kafka")
        b.resume_traffic()
        b.worker("a")
        await b.settle()
        await verify(b)
