"""Telegraf and the OpenTelemetry Collector with our configurations: killed, without Kafka, and given all twice, each usage is counted once."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from harness.collecting import api_of
from harness.commands import Commands
from harness.documented import kafka_rights
from harness.programs import Collector, Program, Telegraf, collector_needed, telegraf_needed
from harness.secure_kafka import SecureKafka
from harness.traffic import DIRECT, HOPPED, PARTITIONS
from harness.verdict import outcome, verify
from harness.workers import Bed, bed
from ratemill.local.stack import Stack
from ratemill.schemas.times import format_time
from ratemill.streams.topics import partition_of

pytestmark = pytest.mark.integration

ACCOUNTS, READINGS = 5, 300
SECRET = "canary-of-a-program"
PRICES = [{"id": "storage", "sku": "storage", "unit": "GB-Mo", "model": "unit", "unit_price": "0.01"}]
# More digits than a float keeps.
DIGITS = "1234567890123456789"

Reading = dict[str, str]


class Servers(NamedTuple):
    """As a stack, for a bed; but its Kafka is one that asks for passwords, and may be taken away."""

    secure: SecureKafka
    elasticsearch: str
    kafka_brokers: int = 1

    @property
    def kafka(self) -> str:
        return self.secure.plain


@pytest.fixture(scope="module")
def servers(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    kafka = SecureKafka(tmp_path_factory.mktemp("kafka"))
    kafka.start()
    yield Servers(kafka, stack.elasticsearch)
    kafka.stop()


def changes(b: Bed, kafka: SecureKafka, user: str, ca_file: str) -> dict[str, str]:
    """What a user changes in a configuration: address, authority, topic. The user may do what docs/security.md lets a collector do."""
    kafka.set_password(user, SECRET)
    kafka.allow(user, kafka_rights("collector", f"{b.name}."))
    return {"kafka.example.com:9093": kafka.address("SECURE"), ca_file: str(kafka.ca_file), HOPPED: b.topic(HOPPED)}


def telegraf_to_kafka(b: Bed, kafka: SecureKafka) -> Program:
    return Telegraf(b.folder, "kafka", changes(b, kafka, "telegraf", "/etc/telegraf/ca.pem"), {"KAFKA_PASSWORD": SECRET})


def collector_to_kafka(b: Bed, kafka: SecureKafka) -> Program:
    return Collector(b.folder, changes(b, kafka, "otelcol", "/etc/otelcol/ca.pem"), {"KAFKA_PASSWORD": SECRET})


def readings() -> list[Reading]:
    """The usage of the hour that ended last."""
    hour = int(time.time()) // 3_600 - 1
    start, end = (format_time(each * 3_600 * 10**9) for each in (hour, hour + 1))
    return [
        {
            "account": f"acct-{n % ACCOUNTS}", "resource": f"disk-{n}", "sku": "storage", "unit": "GB-Mo", "amount": f"{n}.{DIGITS}",
            "window_start": start, "window_end": end, "start_ns": f"{hour * 3_600}000000000",
        }
        for n in range(READINGS)
    ]  # fmt: skip


async def arrived(b: Bed, topic: str = HOPPED) -> dict[str, list[Any]]:
    """What the topic says of each resource, as often as it says it. No record is as old as its usage: the broker would delete it sooner."""
    found = defaultdict(list)
    for record in await b.read(topic):
        assert time.time() - record.timestamp / 1_000 < 600
        told = json.loads(record.value or b"")
        for event in told if isinstance(told, list) else [told]:
            found[event["data"]["resource"]].append((event["subject"], event["id"], event["time"], event["data"]["quantity"]))
    return found


async def all_arrived(b: Bed, program: Program, wanted: list[Reading], times: int = 1, topic: str = HOPPED) -> dict[str, list[Any]]:
    """Wait until each of them is in the topic so often."""
    deadline = time.monotonic() + 90
    while True:
        found = await arrived(b, topic)
        missing = [each["resource"] for each in wanted if len(found[each["resource"]]) < times]
        if not missing:
            return found
        assert time.monotonic() < deadline, f"{len(missing)} of {len(wanted)} are missing, such as {missing[0]}:\n{program.log[-3000:]}"
        time.sleep(0.5)


async def given_twice(b: Bed, program: Program, sent: list[Reading]) -> None:
    """All of it twice more: it is in the topic at least twice, and line items and `ratemill costs` have it once, to the last digit."""
    for times in (1, 2):
        program.send(sent)
        found = await all_arrived(b, program, sent, times)
    for each in sent:
        same = set(found[each["resource"]])
        assert len(same) == 1, same
        account, _, _, quantity = same.pop()
        assert (account, quantity) == (each["account"], each["amount"])
    worker = b.worker("a")
    await b.caught_up(90)
    assert await worker.terminate() == 0
    await verify(b)
    assert (await outcome(b)).wanted.unique == READINGS
    wanted: dict[str | None, Decimal] = defaultdict(Decimal)
    for each in sent:
        wanted[each["account"]] += Decimal(each["amount"])
    settings = {"ELASTICSEARCH__URL": b.stack.elasticsearch, "ELASTICSEARCH__INDEX_PREFIX": b.index}
    said = Commands(b.folder, settings, [SECRET]).run("costs", "--by", "account,unit", "--json")
    assert said.status == 0, said
    rows = json.loads(said.out)["rows"]
    assert {row["group"]["account"]: Decimal(row["pricing_quantity"]) for row in rows} == wanted
    assert {row["group"]["account"]: Decimal(row["billed_cost"]) for row in rows} == {name: sum_ / 100 for name, sum_ in wanted.items()}


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[None]:
    """Started, and ended whatever happens; no secret in its log or in its configuration."""
    try:
        program.start()
        yield
    finally:
        program.stop()
    assert SECRET not in program.log + program.config.read_text()


@pytest.mark.parametrize("made", [
    pytest.param(telegraf_to_kafka, marks=telegraf_needed, id="telegraf"),
    pytest.param(collector_to_kafka, marks=collector_needed, id="otelcol"),
])  # fmt: skip
async def test_over_kafka(servers: Servers, tmp_path: Path, made: Callable[[Bed, SecureKafka], Program]) -> None:
    kafka, sent = servers.secure, readings()
    async with bed(cast(Stack, servers), tmp_path, seed=310, prices=PRICES) as b:
        program = await asyncio.to_thread(made, b, kafka)  # it asks Kafka in a loop of its own
        async with running(program):
            program.send(sent[:100])
            await all_arrived(b, program, sent[:100])
            kafka.stop()
            try:
                # What was taken while Kafka is away outlives kill -9, and the program starts without Kafka.
                program.send(sent[100:200])
                program.kept(100)
                program.kill()
                program.start()
            finally:
                kafka.start()
            await all_arrived(b, program, sent[:200])
            program.send(sent[200:])
            program.kill()
            program.start()
            await given_twice(b, program, sent)


@collector_needed
async def test_the_collector_can_key_by_account(servers: Servers, tmp_path: Path) -> None:
    """With the settings that its configuration tells of, for requests of one account each; also what waited on the disk."""
    sent = readings()[:60]
    async with bed(cast(Stack, servers), tmp_path, seed=312, prices=PRICES) as b:
        kafka = servers.secure
        keyed = {
            **await asyncio.to_thread(changes, b, kafka, "otelcol", "/etc/otelcol/ca.pem"), b.topic(HOPPED): b.topic(DIRECT),
            "encoding: raw}": "encoding: raw, message_key_from_metadata_key: account}\n    record_partitioner: {sticky_key: {hasher: murmur2}}",
            ':4318"}': ':4318", include_metadata: true}',
        }  # fmt: skip
        program = Collector(b.folder, keyed, {"KAFKA_PASSWORD": SECRET})
        async with running(program):
            kafka.stop()
            try:
                for n in range(ACCOUNTS):
                    program.send(sent[n::ACCOUNTS])
                program.kill()
                program.start()
            finally:
                kafka.start()
            found = await all_arrived(b, program, sent, topic=DIRECT)
            assert sorted(found) == sorted(each["resource"] for each in sent)
        for record in await b.read(DIRECT):
            account = json.loads(record.value or b"")["subject"]
            assert ((record.key or b"").decode(), record.partition) == (account, partition_of(account, PARTITIONS))


@telegraf_needed
@pytest.mark.parametrize("buffer", ["disk", "memory"])
async def test_telegraf_over_the_api(servers: Servers, tmp_path: Path, buffer: str) -> None:
    """By our configuration, and with the buffer that Telegraf has by default: that one loses what waits, and the same look at the topic sees it."""
    sent = readings()
    async with bed(cast(Stack, servers), tmp_path, seed=311, prices=PRICES) as b:
        api = api_of(b, tmp_path / "api")
        try:
            key = api.token("events:write")
            changes = {"https://ratemill.example.com:443": api.url, 'buffer_strategy = "disk"': f'buffer_strategy = "{buffer}"'}
            program = Telegraf(b.folder, "http", changes, {"RATEMILL_KEY": key})
            async with running(program):
                program.send(sent[:100])
                await all_arrived(b, program, sent[:100])
                api.kill()
                program.send(sent[100:200])
                program.kept(100)
                program.kill()
                program.start()
                api.start()
                if buffer == "memory":
                    program.send(sent[200:])
                    await all_arrived(b, program, sent[200:])
                    assert len(await arrived(b)) == 200
                    return
                await all_arrived(b, program, sent[:200])
                await given_twice(b, program, sent)
            assert key not in program.log + program.config.read_text()
        finally:
            api.stop()
