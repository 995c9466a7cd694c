"""Records of a Ratemill to come: a worker that meets one says so and ends, before it has changed or lost anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from harness.control import BECAUSE, Operator
from harness.traffic import PARTITIONS
from harness.verdict import verify
from harness.workers import Bed, Worker, bed
from ratemill.local.stack import Stack
from ratemill.schemas.packed import unpack
from ratemill.streams.restore import bounds, read_to_end
from ratemill.streams.topics import partition_of

pytestmark = pytest.mark.integration

STATE = ("usage.rated", "usage.events", "usage.dead-letter", "ratemill.state.windows", "ratemill.state.dedupe")
DEAF = ["deaf_to_schemas"]


async def put(b: Bed, topic: str, partition: int, key: bytes | None, value: bytes) -> str:
    """Write one record; where it stands."""
    producer = AIOKafkaProducer(bootstrap_servers=b.stack.kafka, acks="all")
    await producer.start()
    try:
        sent = await producer.send_and_wait(b.topic(topic), value, key, partition)
    finally:
        await producer.stop()
    return f"{b.topic(topic)}/{partition}/{sent.offset}"


async def ends(b: Bed, topics: Sequence[str] = STATE) -> dict[TopicPartition, int]:
    """How far topics are written: transactions without a record count as well."""
    return (await bounds(b.config.kafka, [TopicPartition(b.topic(topic), p) for topic in topics for p in range(PARTITIONS)]))[1]


def error(worker: Worker) -> str:
    """The one line that a worker ended with."""
    lines = [line for line in worker.log.read_text().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, f"{lines}; see {worker.log}"
    return lines[0]


def refused(worker: Worker, where: str, number: int = 2) -> None:
    """Assert that it said what, where and what to do."""
    said = error(worker)
    for text in (where, f"schema {number}", "knows schemas up to 1", "upgrade this one"):
        assert text in said, said


async def some_usage(b: Bed) -> None:
    """The first half of the traffic, worked in by a worker that then ends."""
    worker = b.worker("a")
    await worker.ready()
    b.start_traffic(per_second=150)
    await b.rated_beyond(200)
    b.hold_traffic()
    await b.idle()
    assert await worker.terminate() == 0
    assert b.mid_run


def future(value: bytes) -> bytes:
    """A progress record as a Ratemill to come might write it."""
    return json.dumps({**json.loads(value), "schema": 2, "counters_by_source": {}}, separators=(",", ":")).encode()


@pytest.mark.parametrize("agent", ["rate", "index", "normalize"])
async def test_a_partition_that_a_newer_one_has_written_is_refused(stack: Stack, tmp_path: Path, agent: str) -> None:
    """With the local state kept and with it lost; nothing is written, and when the newer record is superseded all goes on."""
    async with bed(stack, tmp_path, seed=110, count=1_500) as b:
        await some_usage(b)
        last = [r for r in await b.read("ratemill.state.progress") if (r.key or b"").startswith(agent.encode())][-1]
        assert json.loads(last.value or b"")["schema"] == 1
        where = await put(b, "ratemill.state.progress", last.partition, last.key, future(last.value or b""))
        before = await ends(b)
        for disk in ("kept", "lost"):
            b.resume_traffic()
            worker = b.worker("a" if disk == "kept" else "b", agents=[agent])
            assert await worker.ended() == 2, f"disk {disk}: see {worker.log}"
            refused(worker, f"the progress of {(last.key or b'').decode()} at {where}")
        own = [tp for tp in before if tp.partition == last.partition] if agent == "rate" else list(before)
        after = await ends(b)
        # What other partitions of the same worker had committed before it ended is theirs.
        changed = [tp for tp in own if before[tp] != after[tp] and tp.topic != b.topic("usage.dead-letter")]
        assert agent != "rate" or changed == [], "the partition was written to"
        await put(b, "ratemill.state.progress", last.partition, last.key, last.value or b"")
        b.worker("a")
        await b.settle()
        await verify(b)


async def test_a_worker_that_is_deaf_to_schemas_writes_on(stack: Stack, tmp_path: Path) -> None:
    """The control of the test above: without the check, the partition is written to, and what the newer one had noted is gone."""
    async with bed(stack, tmp_path, seed=110, count=1_500) as b:
        await some_usage(b)
        last = [r for r in await b.read("ratemill.state.progress") if (r.key or b"").startswith(b"rate")][-1]
        await put(b, "ratemill.state.progress", last.partition, last.key, future(last.value or b""))
        before = await ends(b)
        b.worker("a", breaks=DEAF)
        await b.settle()
        after = await ends(b)
        assert [tp for tp in before if before[tp] != after[tp] and tp.partition == last.partition]
        assert "counters_by_source" not in (await b.progress())[(last.key or b"").decode()]


@pytest.mark.parametrize("breaks", [[], DEAF])
async def test_packed_events_of_a_newer_one_are_no_dead_letters(stack: Stack, tmp_path: Path, breaks: list[str]) -> None:
    """A worker that reads them ends and leaves them where they are; one that knows their form counts them. Deaf, it loses them."""
    async with bed(stack, tmp_path, seed=111, count=1_500) as b:
        await some_usage(b)
        record = [r for r in await b.read("usage.events") if r.partition == 0][-1]
        event = unpack(record.value or b"").events[0]
        packed = msgspec.msgpack.decode(record.value or b"")
        packed[0], packed[3], packed[4] = 2, packed[3][:1], packed[4][:1]
        packed[5] = [[event.account, "test", "from-a-newer-one", *packed[5][0][3:]]]
        assert partition_of(event.account, PARTITIONS) == 0
        worker = b.worker("a", breaks=breaks)
        await worker.ready()
        before, letters = await b.rated(), len(await b.read("usage.dead-letter"))
        where = await put(b, "usage.events", 0, None, msgspec.msgpack.encode([*packed, "more than version 1 has"]))
        if breaks:
            await b.idle()
            assert len(await b.read("usage.dead-letter")) == letters + 1, "the control: usage in the dead letters"
            return
        assert await worker.ended() == 2
        refused(worker, where)
        again = b.worker("a")
        assert await again.ended() == 2, "starting it once more makes no difference"
        assert await b.rated() == before
        assert len(await b.read("usage.dead-letter")) == letters
        newer = b.worker("a", breaks=["knows_packed_2"])
        await b.idle()
        assert await b.rated() == before + 1
        assert len(await b.read("usage.dead-letter")) == letters
        assert await newer.terminate() == 0


def request(kind: str, number: int, **more: Any) -> bytes:
    return json.dumps({"control": kind, "id": f"{number:032x}", "author": "Ada", "reason": "because", "at_ns": 1, **more}).encode()


@pytest.mark.parametrize("breaks", [[], DEAF])
async def test_a_request_of_a_newer_one_stops_workers_and_commands(stack: Stack, tmp_path: Path, breaks: list[str]) -> None:
    """Nothing behind it takes effect. Deaf, the worker passes over it and answers what comes next."""
    async with bed(stack, tmp_path, seed=112, count=0) as b:
        worker = b.worker("a", breaks=breaks, agents=["rate"])
        await worker.ready(lanes=PARTITIONS)
        where = await put(b, "ratemill.control", 0, b"1", request("discount", 1, schema=2, percent="5"))
        await put(b, "ratemill.control", 0, b"2", request("close", 2, period="2026-01"))
        if breaks:
            async with asyncio.timeout(60):
                while len(answered := await receipts(b)) < PARTITIONS:
                    await asyncio.sleep(0.2)
            assert {receipt["control_id"] for receipt in answered} == {f"{2:032x}"}
            return
        assert await worker.ended() == 2
        refused(worker, where)
        again = b.worker("a", agents=["rate"])
        assert await again.ended() == 2
        refused(again, where)
        typed = Operator(b)
        for arguments in (["control", "list"], ["close", "2026-02", *BECAUSE]):
            status, _, said = await typed.type(*arguments)
            assert status == 2, said
            assert where in said
        assert await receipts(b) == [], "a request behind the newer one was answered"


async def receipts(b: Bed) -> list[dict[str, Any]]:
    """Receipts on ratemill.control, as JSON."""
    at = TopicPartition(b.topic("ratemill.control"), 0)
    values = [json.loads(r.value) async for _, records in read_to_end(b.config.kafka, {at: 0}) for r in records]
    return [value for value in values if value["control"] == "receipt"]


async def test_a_price_book_of_a_newer_one_stops_workers(stack: Stack, tmp_path: Path) -> None:
    """A worker that cannot read the book must not go on with the one before."""
    async with bed(stack, tmp_path, seed=113, count=0) as b:
        worker = b.worker("a", agents=["rate"])
        await worker.ready(lanes=PARTITIONS)
        where = await put(b, "ratemill.prices", 0, b"k", json.dumps({"schema": 2, "tariff": {}}).encode())
        assert await worker.ended() == 2
        refused(worker, where)
