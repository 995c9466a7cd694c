"""A whole fetch of records that cannot count, and more: the partition goes on, each has one dead letter, and what follows counts."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from harness.control import Operator, event
from harness.traffic import DIRECT, HOPPED, PARTITIONS
from harness.workers import Bed, bed
from ratemill.local.stack import Stack
from ratemill.schemas.dead_letter import CUT_TO, DeadLetter, from_kafka
from ratemill.streams.topics import partition_of

pytestmark = pytest.mark.integration

FETCH = 4_000
RECORD_LIMIT = 17 << 20  # max.message.bytes of raw topics


class Poison(NamedTuple):
    """A record that cannot count; letters: how many it must have."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    key: bytes | None = None
    letters: int = 1


def good(number: int, account: str, **data: Any) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return event(account, f"good-{number}", now, "1", "cpu.hours", "Hours", **data)


def small_ones() -> list[Poison]:
    """More than a fetch of them, of many kinds."""
    kinds = [
        None, b"", b"\xff\xfe", b"{", b"[" * 5_000, b'{"specversion":"1.0"}', b"[]x", b"null", b"0", b'{"a":' * 200 + b"1" + b"}" * 200,
        json.dumps(good(0, "a") | {"data": {"sku": "s", "quantity": "NaN", "unit": "u"}}).encode(), gzip.compress(b"{}"),
    ]  # fmt: skip
    nulls = [Poison(b"{}", [(name, None)]) for name in ("ratemill-format", "ratemill-backfill", "content-type", "ce_specversion", "ce_id", "x")]
    # aiokafka sends no record without a key and a value; others do: see `produce_unsendable`.
    return nulls + [Poison(value, key=b"k" if at % 7 or value is None else None) for at in range(FETCH + 500) for value in [kinds[at % len(kinds)]]]


def large_ones() -> list[Poison]:
    """At every limit on the way: of a decoder, of a record on Kafka, of a dead letter, of a request."""
    rejected = json.dumps([good(at, "a") | {"time": "never"} for at in range(5_000)]).encode()
    assert len(rejected) < 1 << 20
    return [
        *[Poison(b"%d" % at + b" " * (1 << 20)) for at in range(20)],
        Poison(b"x" * (RECORD_LIMIT - 200)),
        Poison(b"y" * (16 << 20)),
        Poison(b"{}", [(f"h{at}", b"") for at in range(60_000)]),
        Poison(b"{}", [("h", b"z" * (RECORD_LIMIT - 200))]),
        Poison(b"{}", key=b"k" * (RECORD_LIMIT - 200)),
        Poison(rejected, letters=5_000),
    ]


async def produce(b: Bed, topic: str, partition: int, records: Sequence[Poison], compression: str | None = None) -> dict[int, Poison]:
    """Write them; by offset."""
    producer = AIOKafkaProducer(bootstrap_servers=b.stack.kafka, acks="all", max_request_size=100 << 20, compression_type=compression, linger_ms=5)
    await producer.start()
    try:
        sent = [await producer.send(b.topic(topic), r.value, r.key, partition, headers=list(r.headers)) for r in records]
        return {(await future).offset: record for future, record in zip(sent, records, strict=True)}
    finally:
        await producer.stop()


async def produce_unsendable(b: Bed, topic: str, partition: int) -> dict[int, Poison]:
    """What aiokafka does not send, and others do: a record without anything. (A header name that is not UTF-8: test_lean_records.py.)"""
    producer = AIOKafkaProducer(bootstrap_servers=b.stack.kafka, acks="all", enable_idempotence=False)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=[])
        sent = await (await producer.send_batch(batch, b.topic(topic), partition=partition))
        return {sent.offset: Poison(None)}
    finally:
        await producer.stop()


async def publish_good(b: Bed, topic: str, partition: int, count: int, first: int) -> None:
    account = next(f"acct-{n}" for n in range(1_000) if partition_of(f"acct-{n}", PARTITIONS) == partition)
    await produce(b, topic, partition, [Poison(json.dumps(good(first + at, account)).encode(), key=account.encode()) for at in range(count)])


async def letters_of(b: Bed, topic: str) -> dict[int, list[DeadLetter]]:
    """Dead letters of a topic's records, by offset; all those of this test are of one partition."""
    found: dict[int, list[DeadLetter]] = {}
    for record in await b.read("usage.dead-letter"):
        letter = from_kafka(record.key, record.value, record.headers)
        if letter.topic == b.topic(topic):
            found.setdefault(letter.offset, []).append(letter)
    return found


async def check_letters(b: Bed, topic: str, poison: dict[int, Poison]) -> None:
    """Each record has its letters, with its bytes once; what is beyond every limit has its first bytes."""
    found = await letters_of(b, topic)
    assert found.keys() == poison.keys()
    for offset, record in poison.items():
        letters = found[offset]
        assert [letter.index for letter in letters if letter.index >= 0] in ([*range(record.letters)], []), f"{topic} {offset}"
        assert len(letters) == record.letters
        first, rest = letters[0], letters[1:]
        assert all((letter.held_by, letter.value, letter.headers) == (first.index, b"", ()) for letter in rest)
        if first.cut:
            assert first.cut > RECORD_LIMIT - 1_000 or len(record.headers) > 1_000
            assert first.value == (record.value or b"")[:CUT_TO]
        else:
            assert (first.value, first.key) == (record.value, record.key)
            assert first.headers == tuple(record.headers)


@pytest.mark.parametrize("topic", [DIRECT, HOPPED])
async def test_poison_does_not_stop_its_partition(stack: Stack, tmp_path: Path, topic: str) -> None:
    """On a topic keyed by account and on one that is not: small ones, large ones, compressed ones, headers of all kinds."""
    async with bed(stack, tmp_path, seed=140, count=0) as b:
        poison = await produce(b, topic, 0, small_ones())
        await publish_good(b, topic, 0, 10, first=0)
        poison |= await produce(b, topic, 0, large_ones())
        poison |= await produce(b, topic, 0, [Poison(b"w" * (24 << 20)), Poison(b"v" * (64 << 20))], compression="gzip")
        await publish_good(b, topic, 0, 10, first=10)
        poison |= await produce_unsendable(b, topic, 0)
        await publish_good(b, topic, 0, 10, first=20)
        worker = b.worker("a")
        await b.idle(within_s=120)
        assert worker.status is None
        assert worker.logged("partition_starts_again") == 0, f"see {worker.log}"
        await check_letters(b, topic, poison)
        rated = [source for lane, p in (await b.progress()).items() if lane.startswith("rate") for source in p.get("sources", {}).values()]
        assert sum(source.get("counted", 0) for source in rated) == 30
        assert await worker.terminate() == 0


async def test_what_waits_for_a_commit_is_bounded_in_bytes(stack: Stack, tmp_path: Path) -> None:
    """Commits are a minute or 150,000 events apart: 100 MiB of large records are written all the same, but for what is below the bound."""
    async with bed(stack, tmp_path, seed=144, count=0) as b:
        await produce(b, HOPPED, 0, [Poison(b"%d" % at + b" " * (1 << 20)) for at in range(100)])
        seldom = {"RATEMILL_RATING__COMMIT_INTERVAL_S": "60", "RATEMILL_RATING__CATCH_UP_INTERVAL_S": "60"}
        worker = b.worker("a", agents=["normalize"], settings=seldom)
        await worker.ready(lanes=PARTITIONS)
        deadline = time.monotonic() + 45
        while len(await letters_of(b, HOPPED)) < 60:
            assert time.monotonic() < deadline, f"nothing is committed; see {worker.log}"


async def test_letters_that_share_their_bytes_are_shown_and_replayed(stack: Stack, tmp_path: Path) -> None:
    """A batch with several rejected events: each letter shows the record, and replaying all of them publishes it once."""
    async with bed(stack, tmp_path, seed=141, count=0) as b:
        value = json.dumps([good(1, "a") | {"time": "never"}, good(2, "a"), good(3, "a") | {"subject": ""}, good(4, "a") | {"time": "soon"}]).encode()
        (offset,) = await produce(b, HOPPED, 0, [Poison(value, [("content-type", b"application/cloudevents-batch+json")])])
        worker = b.worker("a", agents=["normalize"])
        await worker.ready(lanes=PARTITIONS)
        deadline = time.monotonic() + 30
        while len((await letters_of(b, HOPPED)).get(offset, [])) < 3:
            assert time.monotonic() < deadline
        assert [letter.held_by for letter in (await letters_of(b, HOPPED))[offset]] == [None, 0, 0]
        assert await worker.terminate() == 0
        typed, origin = Operator(b), f"{b.topic(HOPPED)}/0/{offset}"
        for index in (0, 2, 3):
            status, out, err = await typed.type("dead-letters", "show", "--raw", f"{origin}/{index}")
            assert (status, out.encode()) == (0, value), err
        status, out, err = await typed.type("dead-letters", "replay", f"{origin}/3")
        assert (status, "replayed 1;" in out) == (0, True), err
        again = (await b.read(HOPPED))[1:]
        assert [(r.value, dict(r.headers)) for r in again] == [(value, {"content-type": b"application/cloudevents-batch+json"})]
        status, out, err = await typed.type("dead-letters", "replay", "--all", "--again", "--yes")
        assert (status, "replayed 3;" in out) == (0, True), err
        # Once for both with a bad time, once for the one without an account.
        assert [r.value for r in await b.read(HOPPED)] == [value] * 4


async def test_large_events_of_one_commit_are_packed_within_the_limit_of_a_record(stack: Stack, tmp_path: Path) -> None:
    """Events with as many and as long dimensions as are accepted: 400 of them would make a record of more than Kafka takes."""
    async with bed(stack, tmp_path, seed=142, count=0) as b:
        account = next(f"acct-{n}" for n in range(1_000) if partition_of(f"acct-{n}", PARTITIONS) == 0)
        records = []
        for at in range(400):
            wide = {f"{at:04d}{number:04d}" + "d" * 1_000: "v" * 1_000 for number in range(30)}
            records.append(Poison(json.dumps(good(at, account, dimensions=wide)).encode()))
        await produce(b, HOPPED, 0, records)
        worker = b.worker("a", agents=["normalize", "rate"])
        await b.settle(agents=("normalize", "rate"))
        assert worker.logged("partition_starts_again") == 0, f"see {worker.log}"
        assert await b.rated() == len(records)
        assert await b.read("usage.dead-letter") == []


async def test_line_items_that_elasticsearch_refuses(stack: Stack, tmp_path: Path) -> None:
    """More than a fetch of them on usage.rated: each one a letter with its bytes, also of equal ones; what follows is indexed."""
    async with bed(stack, tmp_path, seed=143, count=400) as b:
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(per_second=400)
        await b.settle()
        item = json.loads(next(r.value or b"" for r in await b.read("usage.rated")))
        bad = [
            b"", b"no line item", b"no line item", b"{}", json.dumps(item | {"x_LineItemId": "unknown-field", "x_Unknown": 1}).encode(),
            json.dumps(item | {"x_LineItemId": "bad-time", "ChargePeriodStart": "never"}).encode(),
            json.dumps(item | {"x_LineItemId": "long" * 200}).encode(), json.dumps(item | {"x_LineItemId": "amount", "BilledCost": "x"}).encode(),
        ]  # fmt: skip
        numbered = [json.dumps(item | {"x_LineItemId": f"bad-{at}", "ChargePeriodStart": "never"}).encode() for at in range(FETCH)]
        poison = await produce(b, "usage.rated", 0, [Poison(value, key=b"k%d" % at) for at, value in enumerate([*bad, *numbered])])
        await produce(b, "usage.rated", 0, [Poison(json.dumps(item | {"x_LineItemId": "good"}).encode(), key=b"good")])
        await b.idle(within_s=120)
        assert worker.status is None
        await check_letters(b, "usage.rated", poison)
        counters = (await b.progress())["index-0"]["sources"][b.topic("usage.rated")]
        assert counters["dead_lettered"] == len(poison)
        assert await worker.terminate() == 0
