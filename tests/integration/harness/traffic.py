"""Seeded usage: what collectors might publish, good and bad, over a topic keyed by account and one that is not."""

from __future__ import annotations

import json
import random
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

__all__ = ["DIRECT", "HOPPED", "PARTITIONS", "PRICES", "Message", "make_traffic"]

DIRECT = "usage.raw.direct"  # keyed by account: rated without a hop
HOPPED = "usage.raw.cloudevents"  # any key: goes through normalize and usage.events
PARTITIONS = 4
ACCOUNTS = 200
POISON = (
    b'{"specversion":"1.0","id":"trunc',
    b"\xff\xfe\x00not utf-8",
    b"[1, 2",
    b'{"specversion":"1.0","id":"x","source":"s","type":"t","time":"2026-01-01T00:00:00Z","data":{"sku":"api.calls","quantity":"1","unit":"Calls"}}',
)

# The price book, as both the engine (in YAML) and the oracle read it. Tiers are small, so that their bounds move all the time.
PRICES: list[dict[str, Any]] = [
    {"id": "cpu", "sku": "cpu.hours", "unit": "Hours", "model": "unit", "unit_price": "0.0137"},
    {"id": "net", "sku": "net.egress", "unit": "GB", "model": "graduated",
     "tiers": [{"up_to": "20", "unit_price": "0.09"}, {"up_to": "75.5", "unit_price": "0.085"}, {"unit_price": "0.0701"}]},
    {"id": "store", "sku": "store.gb", "unit": "GB-Hours", "model": "graduated", "accumulate": "day",
     "tiers": [{"up_to": "5", "unit_price": "0"}, {"unit_price": "0.000031"}]},
    {"id": "msgs", "sku": "queue.messages", "unit": "Messages", "model": "volume",
     "tiers": [{"up_to": "50", "unit_price": "0.4"}, {"up_to": "100", "unit_price": "0.35"}, {"unit_price": "0.3"}]},
    {"id": "calls", "sku": "api.calls", "unit": "Calls", "model": "package", "package_size": "100", "package_price": "0.40"},
    {"id": "disk", "sku": "disk.gb", "unit": "GB-Hours", "model": "graduated",
     "tiers": [{"up_to": "33.3", "unit_price": "0.0111"}, {"unit_price": "0.0099"}]},
    {"id": "seat", "sku": "seats", "unit": "Seats", "model": "unit", "unit_price": "7"},
]  # fmt: skip
UNITS = {str(p["sku"]): str(p["unit"]) for p in PRICES} | {"gpu.hours": "Hours"}  # gpu.hours has no price


class Message(NamedTuple):
    """One record to publish; partition None: the producer's own choice by key."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes


class _Maker:
    def __init__(self, seed: int, now_s: float) -> None:
        self.random = random.Random(seed)
        self.now_s = now_s
        self.messages: list[Message] = []
        self.recent: list[tuple[str, dict[str, Any]]] = []
        self.roamed: set[str] = set()  # ids whose copies are in several partitions: they must not come into conflict
        self.contested: set[str] = set()

    def event(self, number: int) -> dict[str, Any]:
        r = self.random
        age = r.uniform(0, 3 * 3_600) if r.random() > 0.04 else r.uniform(3 * 3_600, 20 * 86_400)
        time = datetime.fromtimestamp(self.now_s - age, UTC)
        text = time.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if r.random() < 0.2 else "%Y-%m-%dT%H:%M:%SZ")
        sku = r.choice(tuple(UNITS))
        quantity = Decimal(r.randint(1, 4_000)).scaleb(-r.randint(0, 3))
        data: dict[str, Any] = {"sku": sku, "quantity": str(quantity) if r.random() < 0.8 else int(quantity) + 1, "unit": UNITS[sku]}
        if r.random() < 0.3:
            data["region"] = r.choice(("eu-central-1", "us-east-1"))
        if r.random() < 0.1:
            data["resource"] = f"vm-{r.randint(1, 3)}"
        if r.random() < 0.1:
            data["dimensions"] = {"plan": r.choice(("gold", "silver"))}
        return {
            "specversion": "1.0", "id": f"e-{number}", "source": f"collector-{number % 3}", "type": "ratemill.usage",
            "subject": f"account-{int(ACCOUNTS * r.random() ** 2):03d}", "time": text, "data": data,
        }  # fmt: skip

    def put(self, topic: str, event: dict[str, Any], partition: int | None = None) -> None:
        value = json.dumps(event).encode()
        if topic == DIRECT:
            self.messages.append(Message(DIRECT, partition, str(event["subject"]).encode(), value))
        else:
            home = zlib.crc32(str(event["id"]).encode()) % PARTITIONS
            self.messages.append(Message(HOPPED, home if partition is None else partition, None, value))

    def duplicate(self) -> None:
        """The same event again: the same bytes or other digits of the same number, perhaps elsewhere."""
        topic, event = self.random.choice(self.recent[-2_000:])
        copy = json.loads(json.dumps(event))
        if self.random.random() < 0.3 and isinstance(copy["data"]["quantity"], str):
            copy["data"]["quantity"] += "0" if "." in copy["data"]["quantity"] else ".0"
        if self.random.random() < 0.4 and event["id"] not in self.contested:
            self.roamed.add(event["id"])
            if self.random.random() < 0.5:
                self.put(DIRECT if topic == HOPPED else HOPPED, copy)
            else:
                self.put(topic, copy, self.random.randrange(PARTITIONS) if topic == HOPPED else None)
        else:
            self.put(topic, copy)

    def conflict(self) -> None:
        """The same identity with another quantity, in the same partition: the log decides which counts."""
        topic, event = self.random.choice(self.recent[-2_000:])
        if event["id"] in self.roamed:
            return
        self.contested.add(event["id"])
        copy = json.loads(json.dumps(event))
        copy["data"]["quantity"] = str(Decimal(str(copy["data"]["quantity"])) + 1)
        self.put(topic, copy)

    def poison(self, number: int) -> None:
        r = self.random
        kind = r.randrange(len(POISON) + 4)
        event = self.event(number)
        if kind < len(POISON):
            self.messages.append(Message(r.choice((DIRECT, HOPPED)), r.randrange(PARTITIONS), None, POISON[kind]))
            return
        if kind == len(POISON):
            event["data"]["quantity"] = float("nan")
        elif kind == len(POISON) + 1:
            event["time"] = "1970-01-01T00:00:00Z"
        elif kind == len(POISON) + 2:
            event["time"] = "2100-01-01T00:00:00Z"
        else:
            del event["data"]["sku"]
        self.put(r.choice((DIRECT, HOPPED)), event)

    def batch(self, number: int) -> None:
        """Several events in one record."""
        events = [self.event(number * 10 + at) | {"id": f"b-{number}-{at}"} for at in range(self.random.randint(2, 4))]
        self.messages.append(Message(HOPPED, number % PARTITIONS, None, json.dumps(events).encode()))


def make_traffic(seed: int, count: int, now_s: float) -> list[Message]:
    """About `count` records: 3% duplicates, 0.4% conflicts, 0.6% poison, 1% batches, 4% late by up to 20 days."""
    maker = _Maker(seed, now_s)
    for number in range(count):
        dice = maker.random.random()
        if dice < 0.03 and maker.recent:
            maker.duplicate()
        elif dice < 0.034 and maker.recent:
            maker.conflict()
        elif dice < 0.04:
            maker.poison(number)
        elif dice < 0.05:
            maker.batch(number)
        else:
            topic = maker.random.choice((DIRECT, HOPPED))
            event = maker.event(number)
            maker.recent.append((topic, event))
            maker.put(topic, event)
    return maker.messages
