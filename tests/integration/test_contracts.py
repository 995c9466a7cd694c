"""Records of a running Ratemill keep to docs/contracts."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from harness.workers import Record, bed
from jsonschema import Draft202012Validator
from ratemill.local.stack import Stack
from ratemill.schemas.control import BackfillOpen, Close, Rerate
from ratemill.streams.control_topic import publish_control
from ratemill.streams.restore import read_to_end

pytestmark = pytest.mark.integration

FOLDER = Path(__file__).parents[2] / "docs" / "contracts"


def wrong(name: str, documents: list[Any]) -> list[str]:
    """What is not as the contract says, with the place."""
    validator = Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{name}: {error.json_path}: {error.message}" for document in documents for error in validator.iter_errors(document)]


def headers_of(record: Record) -> dict[str, str]:
    return {name: (value or b"").decode(errors="replace") for name, value in record.headers}


async def test_every_record_keeps_to_its_contract(stack: Stack, tmp_path: Path) -> None:
    """Line items, dead letters, price books, requests and receipts of a run with late, repeated, conflicting and poison usage."""
    async with bed(stack, tmp_path, seed=310, count=1_500) as b:
        worker = b.worker("a")
        about = {"author": "test", "reason": "contracts", "at_ns": time.time_ns()}
        for request in (
            Close(id=uuid.uuid4().hex, period="2026-01", **about), Rerate(id=uuid.uuid4().hex, sku="cpu.hours", **about),
            BackfillOpen(id=uuid.uuid4().hex, name="old", from_ns=0, to_ns=1, **about),
        ):  # fmt: skip
            await publish_control(b.config, request)
        b.start_traffic(per_second=5_000)
        await b.settle(agents=("normalize", "rate"))
        assert await worker.terminate() == 0
        items = [json.loads(record.value or b"") for record in await b.read("usage.rated")]
        letters = await b.read("usage.dead-letter")
        single = {name: await _single(b.config.kafka, b.topic(f"ratemill.{name}")) for name in ("prices", "control")}
    kinds = Counter(each["control"] for each in single["control"])
    assert len(items) > 100
    assert len({headers_of(letter)["ratemill-reason"] for letter in letters}) > 2
    assert kinds["receipt"] > 3
    assert len(kinds) == 4
    assert single["prices"]
    assert wrong("line-item", items) == []
    assert wrong("dead-letter-headers", [headers_of(letter) for letter in letters]) == []
    assert wrong("price-book", single["prices"]) == []
    assert wrong("control", single["control"]) == []
    unlike = [
        ("line-item", items[0] | {"ListCost": 1.5}), ("line-item", {k: v for k, v in items[0].items() if k != "SkuId"}),
        ("line-item", items[0] | {"ChargePeriodStart": "2026-01-01"}), ("dead-letter-headers", {"ratemill-reason": "conflict"}),
        ("control", {"control": "close"}), ("price-book", {"text": "x"}),
    ]  # fmt: skip
    assert [name for name, document in unlike if not wrong(name, [document])] == []


async def _single(kafka: Any, topic: str) -> list[Any]:
    """The records of a topic of one partition."""
    found: list[Any] = []
    async for _, records in read_to_end(kafka, {TopicPartition(topic, 0): 0}):
        found += [json.loads(record.value) for record in records]
    return found
