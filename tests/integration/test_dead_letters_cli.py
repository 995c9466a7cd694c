"""`ratemill dead-letters`, `doctor` and `prices publish` on a real Kafka and Elasticsearch, with a real worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from harness.zygote import RATEMILL, run, start
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

PREFIX = "dlcli."
RAW, AWS = f"{PREFIX}usage.raw.cloudevents", f"{PREFIX}usage.raw.aws"
DEAD = f"{PREFIX}usage.dead-letter"
BINARY = b"\xff\xfe\x00\x1b[31m"
BOOK = 'currency: USD\nprices:\n  - {id: k, sku: k, unit: GB, model: unit, unit_price: "0.5"}\n'


class Rig:
    """One Ratemill of its own on the shared stack."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.bootstrap = stack.kafka
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
        self.environment = clean | {
            "RATEMILL_KAFKA__BOOTSTRAP": stack.kafka, "RATEMILL_KAFKA__TOPIC_PREFIX": PREFIX, "RATEMILL_KAFKA__PARTITIONS": "2",
            "RATEMILL_ELASTICSEARCH__URL": stack.elasticsearch, "RATEMILL_ELASTICSEARCH__INDEX_PREFIX": "dlcli",
            "RATEMILL_RATING__COMMIT_INTERVAL_S": "0.2", "RATEMILL_WORKER__DATA_DIR": str(folder / "worker"),
        }  # fmt: skip

    def run(self, *arguments: str, **other: str) -> subprocess.CompletedProcess[str]:
        return run(*RATEMILL, *arguments, cwd=self.folder, env=self.environment | other)

    def letters(self, *arguments: str) -> list[dict[str, Any]]:
        said = self.run("dead-letters", "list", "--json", *arguments)
        assert said.returncode == 0, said.stderr
        found: list[dict[str, Any]] = json.loads(said.stdout)["letters"]
        return found

    def until(self, what: Callable[[], Any], within_s: float = 60) -> Any:
        deadline = time.monotonic() + within_s
        while not (answer := what()):
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.5)
        return answer

    def until_letters(self, number: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.until(lambda: found if len(found := self.letters()) >= number else None)
        assert len(found) == number
        return found

    def publish(self, *records: tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]) -> None:
        async def send() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
            await producer.start()
            for topic, value, key, headers in records:
                await producer.send_and_wait(topic, value, key, headers=headers)
            await producer.stop()

        asyncio.run(send())

    def last(self, topic: str) -> list[Any]:
        """Every committed record of a topic."""

        async def read() -> list[Any]:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed")
            await consumer.start()
            consumer.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
            records = [record for _ in range(10) for found in (await consumer.getmany(timeout_ms=200)).values() for record in found]
            await consumer.stop()
            return records

        return asyncio.run(read())


def event(id: str, quantity: str, age: timedelta = timedelta(0)) -> bytes:
    at = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    data = {"sku": "k", "quantity": quantity, "unit": "GB"}
    return json.dumps({"specversion": "1.0", "type": "t", "source": "s", "id": id, "subject": "a", "time": at, "data": data}).encode()


@pytest.fixture(scope="module")
def rig(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(stack, tmp_path_factory.mktemp("dlcli"))
    with (rig.folder / "worker.log").open("wb") as log:
        worker = start(*RATEMILL, "worker", cwd=rig.folder, env=rig.environment, output=log)
        try:
            rig.until(lambda: "ok       workers" in rig.run("doctor").stdout)
            yield rig
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)


def test_from_the_first_letter_to_the_last_replay(rig: Rig) -> None:
    """One story, as starting a worker is slow: list, show, replay once, not twice, and what becomes of it."""
    as_cloudevent = [("ratemill-format", b"cloudevents")]
    first = event("conflict", "1")
    rig.publish((AWS, first, None, as_cloudevent))
    time.sleep(2)  # so that it is the first
    rig.publish(
        (RAW, BINARY, b"key", [("h", b"v")]),
        (RAW, None, b"null", []),
        (RAW, event("old", "3", timedelta(days=60)), b"a", []),
        (AWS, event("conflict", "2"), None, as_cloudevent),
    )
    letters = {letter["reason"]: letter for letter in rig.until_letters(4) if letter["key"] != "null"}
    assert set(letters) == {"not_decodable", "too_old", "conflict"}

    # list and show
    assert [letter["origin"] for letter in rig.letters("--reason", "conflict")] == [letters["conflict"]["origin"]]
    assert [letter["reason"] for letter in rig.letters("--topic", AWS)] == ["conflict"]
    assert rig.letters("--since", "2100-01-01") == []
    assert len(rig.letters("--limit", "2")) == 2
    binary = letters["not_decodable"]["origin"]
    assert rig.run("dead-letters", "show", binary, "--raw").stdout.encode(errors="surrogateescape") == BINARY
    shown = rig.run("dead-letters", "show", binary).stdout
    assert "ff fe 00 1b" in shown
    assert "\x1b" not in shown

    # replay: the conflict decodes as what it is on a topic of another provider, and conflicts again
    assert "replayed 1;" in rig.run("dead-letters", "replay", letters["conflict"]["origin"]).stdout
    again = rig.until_letters(5)[-1]
    assert (again["reason"], again["origin"].split("/")[0], again["replayed"]) == ("conflict", AWS, False)

    # once, unless it is asked for again; the record itself is the same
    rig.run("dead-letters", "replay", binary)
    rig.until_letters(6)
    said = rig.run("dead-letters", "replay", binary).stdout
    assert "1 were replayed before" in said
    assert "nothing to replay" in said
    replayed = [record for record in rig.last(RAW) if record.value == BINARY]
    assert [(record.key, list(record.headers)) for record in replayed] == [(b"key", [("h", b"v")])] * 2
    assert "replayed 1;" in rig.run("dead-letters", "replay", "--again", binary).stdout
    rig.until_letters(7)

    # a backfill counts
    assert "replayed 1;" in rig.run("dead-letters", "replay", "--reason", "too_old", "--backfill", "january", "--yes").stdout
    rig.until(lambda: '"line_items":2' in rig.run("costs", "--json", "--by", "").stdout)
    assert len(rig.letters()) == 7

    # all that is left, including what cannot be
    assert "replayed 4;" in rig.run("dead-letters", "replay", "--all", "--yes").stdout
    rig.until_letters(11)

    # doctor and prices, with all this behind them
    said = rig.run("doctor")
    assert said.returncode == 0, said.stdout
    assert "warning  dead letters: waiting: " in said.stdout
    assert "warning  unpriced: 2 of 2 line items" in said.stdout
    (rig.folder / "book.yaml").write_text(BOOK, encoding="utf-8")
    said = rig.run("prices", "publish", "book.yaml", "--author", "me", "--reason", "first prices")
    assert said.returncode == 0, said.stderr
    assert "published 1 prices in USD" in said.stdout
    rig.until(lambda: "all of 2 line items have a price" in (said := rig.run("doctor").stdout) and "by me: first prices" in said)


def test_two_replays_at_once_publish_a_letter_once(rig: Rig) -> None:
    mark = b"not json, two at once"
    rig.publish((RAW, mark, b"k", []))
    (letter,) = rig.until(lambda: [each for each in rig.letters("--since", "60s") if each["bytes"] == len(mark)])
    with ThreadPoolExecutor(2) as both:
        said = both.map(lambda _: rig.run("dead-letters", "replay", letter["origin"]), range(2))
    assert 0 in [each.returncode for each in said]
    assert sum(record.value == mark for record in rig.last(RAW)) == 2  # the first time, and one replay


def test_unknown_origin_and_no_kafka(rig: Rig) -> None:
    said = rig.run("dead-letters", "show", f"{RAW}/0/999999/0")
    assert (said.returncode, len(said.stderr.splitlines())) == (2, 1)
    assert rig.run("dead-letters", "replay", f"{RAW}/0/999999/0").returncode == 2
    said = rig.run("dead-letters", "list", RATEMILL_KAFKA__BOOTSTRAP="127.0.0.1:1")
    assert (said.returncode, len(said.stderr.splitlines())) == (1, 1)


def test_doctor_without_a_worker_says_so(rig: Rig) -> None:
    said = rig.run("doctor", RATEMILL_KAFKA__GROUP="nobody")
    assert "warning  workers: none runs" in said.stdout
    said = rig.run("doctor", RATEMILL_KAFKA__PARTITIONS="3")
    assert said.returncode == 1
    assert f"problem  topics: {PREFIX}usage.events has 2 partitions, the configuration says 3" in said.stdout
    said = rig.run("doctor", RATEMILL_RATING__DEDUPE_WINDOW_S=str(400 * 86_400))
    assert "problem  topics: " in said.stdout
    assert "retention.ms" in said.stdout


def test_doctor_tells_of_a_transaction_that_does_not_end(rig: Rig) -> None:
    rated = f"{PREFIX}usage.rated"

    async def ask() -> tuple[str, str]:
        producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap, transactional_id="dlcli-stranger")
        await producer.start()
        try:
            await producer.begin_transaction()
            await producer.send_and_wait(rated, b"never to be seen", b"li-0", partition=1)
            during = await asyncio.to_thread(rig.run, "doctor")
            await producer.abort_transaction()
            return during.stdout, (await asyncio.to_thread(rig.run, "doctor")).stdout
        finally:
            await producer.stop()

    during, after = asyncio.run(ask())
    assert f"warning  transactions: {rated} 1 can be read to " in during
    assert "'A transaction that hangs' in docs/operations.md" in during
    assert "transactions" not in after  # negative control: one that has ended is no finding
