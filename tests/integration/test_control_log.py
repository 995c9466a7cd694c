"""The control topic, finding events in the log, and the commands for both, on a real Kafka; the lanes are played."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from harness.zygote import RATEMILL, run
from ratemill.local.stack import Stack
from ratemill.schemas.control import Amend, Close, Origin, Receipt, Request, encode_control
from ratemill.schemas.dead_letter import DeadLetter, to_kafka
from ratemill.schemas.errors import BadInput, Reason, Unavailable
from ratemill.schemas.packed import as_cloudevent, pack
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.config import Config
from ratemill.streams.control_topic import Controls, load_controls, partitions_concerned, publish_control, wait_for_receipts
from ratemill.streams.find_events import FoundEvent, arrival_floor_ms, events_of, find_event
from ratemill.streams.topics import Topics, ensure_topics, partition_of

pytestmark = pytest.mark.integration

KEYED, HOPPED = "usage.raw.keyed", "usage.raw.hopped"
NOW_S = int(time.time())


def config_of(stack: Stack) -> Config:
    raw = [{"name": KEYED, "keyed_by": "account"}, {"name": HOPPED}]
    kafka = {"bootstrap": stack.kafka, "topic_prefix": f"ctl{uuid.uuid4().hex[:8]}.", "partitions": 2, "raw_topics": raw}
    return Config.model_validate({"kafka": kafka})


def event(id: str, quantity: int, age_s: int = 60, account: str = "a") -> UsageEvent:
    return UsageEvent(account, "s", id, "k", (NOW_S - age_s) * 10**9, Decimal(quantity), "GB")


class Log:
    """Writes what lanes and collectors would."""

    def __init__(self, config: Config) -> None:
        self.topics = Topics.of(config.kafka)
        self.raw = config.kafka.topic_prefix + HOPPED
        self.keyed = config.kafka.topic_prefix + KEYED
        self.home = partition_of("a", 2)
        self._settings = {"bootstrap_servers": config.kafka.bootstrap}

    async def write(self, topic: str, value: bytes, headers: Any = None, key: bytes | None = None, at_ms: int | None = None) -> int:
        producer = AIOKafkaProducer(**self._settings)
        await producer.start()
        try:
            return int((await producer.send_and_wait(topic, value, key, self.home, timestamp_ms=at_ms, headers=headers)).offset)
        finally:
            await producer.stop()

    async def packed(self, *events: UsageEvent, first: int, at_ms: int | None = None) -> int:
        offsets = list(range(first, first + len(events)))
        return await self.write(self.topics.events, pack(self.raw, 1, offsets, [7] * len(events), list(events)), at_ms=at_ms)

    async def dead(self, topic: str, partition: int, offset: int, index: int) -> None:
        key, value, headers = to_kafka(DeadLetter(Reason.CONFLICT, "x", topic, partition, offset, index, b"{}", 1))
        await self.write(self.topics.dead_letter, value, headers, key)


async def found_in(config: Config, account: str = "a", wanted: Any = None, **options: Any) -> list[FoundEvent]:
    return [found async for found in events_of(config, account, wanted, **options)]


async def test_events_are_found_with_the_place_they_came_from(stack: Stack) -> None:
    config = config_of(stack)
    await ensure_topics(config)
    log, home = Log(config), partition_of("a", 2)
    events = log.topics.events
    assert await found_in(config) == []
    old_ms = (NOW_S - 5_000) * 1_000
    await log.packed(event("old", 1, age_s=5_000), event("other", 1, account="b"), first=3, at_ms=old_ms)
    await log.write(events, b"not packed events, though it names a")
    second = await log.packed(event("e1", 1), event("e2", 2), event("e1", 1), event("lost", 1), first=10)
    direct = await log.write(log.keyed, as_cloudevent(event("e3", 3)), key=b"a")
    batch = b"[" + as_cloudevent(event("e1", 9)) + b"," + as_cloudevent(event("e4", 4)) + b"]"
    array = await log.write(log.keyed, batch, [("content-type", b"application/cloudevents-batch+json")], b"a")
    await log.dead(log.keyed, home, array, 0)  # e1 was there before, with another quantity
    await log.dead(log.raw, 1, 13, 7)  # lost

    found = {each.event.id: each for each in await found_in(config)}
    assert {id: int(each.event.quantity) for id, each in found.items()} == {"old": 1, "e1": 1, "e2": 2, "e3": 3, "e4": 4}
    assert found["e2"].origin == Origin(log.raw, 1, 11, 7)
    assert found["e2"].position == Origin(events, home, second, 1)
    assert found["e4"].origin == found["e4"].position == Origin(log.keyed, home, array, 1)
    assert found["e3"].position == Origin(log.keyed, home, direct, 0)

    # narrowed down
    seen: list[tuple[int, int]] = []
    since = arrival_floor_ms(config, (NOW_S - 1_000) * 10**9)
    recent = await found_in(config, since_ms=since, progress=lambda done, total: seen.append((done, total)))
    assert {each.event.id for each in recent} == {"e1", "e2", "e3", "e4"}
    assert seen[-1][0] == seen[-1][1] > 0
    assert {each.event.id for each in await found_in(config, ends={events: second, log.keyed: array})} == {"old", "e3"}
    assert await found_in(config, since_ms=(NOW_S + 5_000) * 1_000) == []
    assert len(await found_in(config, wanted=lambda each: each.id == "e1", repeated=True)) == 2
    assert [each.event.account for each in await found_in(config, "b")] == (["b"] if partition_of("b", 2) == home else [])

    # one of them
    one = await find_event(config, "a", "s", "e1")
    assert (one.event, one.origin) == (event("e1", 1), Origin(log.raw, 1, 10, 7))
    for wrong in (("a", "s", "lost"), ("a", "other", "e1"), ("c", "s", "e1")):
        with pytest.raises(BadInput, match="was counted as far as the log reaches back"):
            await find_event(config, *wrong)
    with pytest.raises(BadInput, match=r"counted since 20.*Z as far"):
        await find_event(config, "a", "s", "old", since_ms=since)


def request(**fields: Any) -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "author": "Ada", "reason": "because", "at_ns": time.time_ns(), **fields}


async def test_requests_and_receipts_over_kafka(stack: Stack) -> None:
    config = config_of(stack)
    assert (await load_controls(config)).requests == []  # no topic yet
    close = Close(**request(period="2026-05"))
    offset = await publish_control(config, close)
    amend = Amend(**request(), original=event("e", 1), origin=Origin("t", 0, 0, 0), replacement=event("e", 2))
    await publish_control(config, amend)
    await publish_control(config, close)  # the sender was not sure
    controls = Controls(config)
    controls.start()
    try:
        await controls.ready()
        assert [each for _, each in controls.requests_from(offset)] == [close, amend]
        assert [each for _, each in controls.requests_from(offset + 1)] == [amend]

        # Receipts count once their transaction is committed, and not before.
        waiting = asyncio.ensure_future(wait_for_receipts(config, close.id, partitions_concerned(config, close), 30))
        producer = AIOKafkaProducer(bootstrap_servers=stack.kafka, transactional_id=f"{config.kafka.topic_prefix}t")
        await producer.start()
        topic = Topics.of(config.kafka).control
        await producer.begin_transaction()
        for number in (0, 1):
            await producer.send_and_wait(topic, encode_control(receipt(close.id, number)), partition=0)
        await asyncio.sleep(1.5)
        assert controls.receipts(close.id) == {}
        assert not waiting.done()
        await producer.commit_transaction()
        await producer.begin_transaction()
        await producer.send_and_wait(topic, encode_control(receipt(amend.id, 0)), partition=0)
        await producer.abort_transaction()
        await producer.stop()
        assert await waiting == {0: receipt(close.id, 0), 1: receipt(close.id, 1)}
        assert await wait_for_receipts(config, amend.id, [0], 2) == {}
    finally:
        await controls.stop()
    assert sorted((await load_controls(config)).receipts(close.id)) == [0, 1]


def receipt(control_id: str, partition: int) -> Receipt:
    return Receipt(control_id=control_id, partition=partition, outcome="done", next_offsets={}, book="", closed_through=0, revision=1, at_ns=1)


async def test_without_kafka_the_error_says_so(stack: Stack) -> None:
    config = Config.model_validate({"kafka": {"bootstrap": "127.0.0.1:1"}})
    with pytest.raises(Unavailable, match=r"Kafka at 127\.0\.0\.1:1 does not answer \(Connect"):
        await load_controls(config)
    with pytest.raises(Unavailable, match="does not answer"):
        await find_event(config, "a", "s", "e")


class Lanes:
    """Plays the rate lanes: answers every request for every partition concerned, as `answers` says."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.answers: Mapping[int, tuple[str, bool]] = {0: ("done", True), 1: ("done", True)}
        self.seen: list[Request] = []

    async def play(self, controls: Controls) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.config.kafka.bootstrap)
        await producer.start()
        after = 0
        try:
            while True:
                changed = controls.changed
                for offset, asked in controls.requests_from(after):
                    after = offset + 1
                    self.seen.append(asked)
                    for number in partitions_concerned(self.config, asked):
                        if number in self.answers:
                            outcome, applied = self.answers[number]
                            answer = receipt(asked.id, number)
                            fields = {name: getattr(answer, name) for name in answer.__struct_fields__}
                            answer = Receipt(**fields | {"outcome": outcome, "applied": applied, "counts": {"line_items": 2}})
                            await producer.send_and_wait(Topics.of(self.config.kafka).control, encode_control(answer), partition=0)
                await changed.wait()
        finally:
            await producer.stop()


@asynccontextmanager
async def lanes_of(config: Config) -> AsyncIterator[Lanes]:
    lanes, controls = Lanes(config), Controls(config)
    controls.start()
    playing = asyncio.ensure_future(lanes.play(controls))
    try:
        yield lanes
    finally:
        playing.cancel()
        await asyncio.wait([playing])
        await controls.stop()


class Terminal:
    """Types commands."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.folder = folder
        kafka = config.kafka
        raw = "".join(f'[[kafka.raw_topics]]\nname = "{t.name}"\nkeyed_by = "{t.keyed_by}"\n' for t in kafka.raw_topics)
        (folder / "ratemill.toml").write_text(
            f'[kafka]\nbootstrap = "{kafka.bootstrap}"\ntopic_prefix = "{kafka.topic_prefix}"\npartitions = 2\n{raw}', encoding="utf-8"
        )
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")} | {"USER": "Ada"}

    async def type(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        said = await asyncio.to_thread(run, *RATEMILL, *arguments, cwd=self.folder, env=self._environment, timeout=60, typed=typed.encode())
        return said.returncode, said.stdout, said.stderr

    async def json(self, *arguments: str) -> Any:
        status, out, err = await self.type(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)


BECAUSE = ("--reason", "because", "--yes")


async def test_an_event_is_amended_cancelled_and_brought_back(stack: Stack, tmp_path: Path) -> None:
    config = config_of(stack)
    await ensure_topics(config)
    log, terminal = Log(config), Terminal(config, tmp_path)
    await log.packed(event("e1", 5), first=3)
    named = ("--account", "a", "--source", "s", "--id", "e1")
    async with lanes_of(config) as lanes:
        # asked first; the answer no records nothing
        status, out, _ = await terminal.type("amend", *named, "--quantity", "4", "--reason", "because", typed="n\n")
        assert (status, "quantity 5 → 4" in out, "Amend it?" in out, lanes.seen) == (130, True, True, [])
        status, out, err = await terminal.type("amend", *named, "--quantity", "4", "--reason", "because", typed="y\n")
        assert (status, f"partition {log.home}: done (2 line items)" in out) == (0, True), err

        # again: the event is shown as it is now; the request holds it as it came
        status, out, err = await terminal.type("amend", *named, "--quantity", "3", *BECAUSE)
        assert (status, "quantity 4 → 3" in out, "amended by Ada" in out) == (0, True, True), err
        status, out, err = await terminal.type("amend", *named, "--quantity", "3.00", *BECAUSE)
        assert (status, err.startswith("error: nothing would change")) == (2, True)
        assert (await terminal.json("cancel", *named, *BECAUSE))["replacement"] is None
        status, out, err = await terminal.type("cancel", *named, *BECAUSE)
        assert (status, err.startswith("error: it is cancelled: by Ada on ")) == (2, True)
        status, out, err = await terminal.type("amend", *named, "--quantity", "5", *BECAUSE)
        assert (status, "it counts again" in out) == (0, True), err

        # one that a lane refuses
        lanes.answers = {log.home: ("this event was not counted", False)}
        status, out, _ = await terminal.type("cancel", *named, *BECAUSE)
        assert (status, f"partition {log.home}: refused: this event was not counted" in out) == (1, True)
        lanes.answers = {log.home: ("done", True)}
        status, out, err = await terminal.type("cancel", *named, *BECAUSE)
        assert status == 0, err
        status, _, err = await terminal.type("cancel", *named[:-1], "e2", *BECAUSE)
        assert (status, "no event of account 'a', source 's' with the id 'e2'" in err) == (2, True)

        quantities = [None if each.replacement is None else str(each.replacement.quantity) for each in lanes.seen if isinstance(each, Amend)]
        assert quantities == ["4", "3", None, "5", None, None]
        assert {str(each.original.quantity) for each in lanes.seen if isinstance(each, Amend)} == {"5"}
        assert {str(each.origin) for each in lanes.seen if isinstance(each, Amend)} == {f"{log.raw}/1/3/7"}


async def test_months_backfills_and_what_became_of_them(stack: Stack, tmp_path: Path) -> None:
    config = config_of(stack)
    terminal = Terminal(config, tmp_path)
    assert (await terminal.json("control", "list"))["requests"] == []
    async with lanes_of(config) as lanes:
        status, out, err = await terminal.type("close", "2026-02", *BECAUSE)
        assert (status, "all 2 partitions: done (4 line items)" in out) == (0, True), err
        status, out, _ = await terminal.type("close", "2026-01", *BECAUSE)
        assert (status, out.startswith("2026-01 is closed: Ada closed 2026-02 and before on "), len(lanes.seen)) == (0, True, 1)

        span = ("--from", "2026-03-01", "--to", "2026-03-05")
        assert (await terminal.json("backfill", "open", "gap", *span, *BECAUSE))["from"] == "2026-03-01T00:00:00Z"
        assert (await terminal.type("backfill", "open", "gap", *span, *BECAUSE))[0] == 2
        assert (await terminal.type("backfill", "revert", "other", *BECAUSE))[0] == 2
        assert (await terminal.type("backfill", "close", "gap", *BECAUSE))[0] == 0
        assert (await terminal.type("backfill", "revert", "gap", *BECAUSE))[0] == 0
        assert (await terminal.type("backfill", "open", "gap", *span, *BECAUSE))[0] == 2
        assert [(each["name"], each["state"]) for each in (await terminal.json("backfill", "list"))["backfills"]] == [("gap", "reverted")]

        # a partition that does not answer
        lanes.answers = {0: ("done", True)}
        status, out, err = await terminal.type("rerate", "--period", "2026-02", *BECAUSE, "--timeout", "3")
        assert (status, "partition 0: done" in out) == (1, True)
        assert err.startswith("error: partition 1 did not answer within 3 s; is a worker")
        request_id = lanes.seen[-1].id
        assert f"ratemill control wait {request_id[:8]}" in err
        status, out, _ = await terminal.type("rerate", *BECAUSE, "--timeout", "0")
        assert (status, "ratemill control show " in out) == (0, True)

    said = await terminal.json("control", "list")
    assert [each["request"] for each in said["requests"]] == ["close", "backfill_open", "backfill_close", "backfill_revert", "rerate", "rerate"]
    assert [each["waiting"] for each in said["requests"]][3:5] == [[], [1]]
    status, out, _ = await terminal.type("control", "list", "--limit", "2")
    assert ("rerate period 2026-02" in out, "close 2026-02" in out, "the newest 2 of 6" in out) == (True, False, True)
    status, out, _ = await terminal.type("control", "show", request_id[:8])
    assert (status, "partition 1: no answer yet" in out, "because    because" in out) == (0, True, True)
    assert (await terminal.type("control", "wait", request_id, "--timeout", "1"))[0] == 1
