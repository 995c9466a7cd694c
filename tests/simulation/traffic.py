"""Small traffics, and what each must come to: drawn once and priced once in a process, by the oracle of the integration tests.

A few accounts and small tiers, so that nearly every event moves a bound; one in three records is something odd: a duplicate (the same
bytes or other digits, here or elsewhere), a conflict, poison, a late event of the month before, several events in one record.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from harness.oracle import Expected, Raw, expected
from harness.traffic import DIRECT, HOPPED, POISON, PRICES
from msgspec.structs import replace
from ratemill.pricing.money import plain
from ratemill.schemas.control import Amend, Close, Origin, Request, Rerate
from ratemill.schemas.decoders.registry import decode_record
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.topics import partition_of

from .plans import SIZES, is_large
from .scheduler import START_NS

__all__ = ["BOOKS", "Case", "Message", "case_of"]

ACCOUNTS = 5
SKUS = ("net.egress", "queue.messages", "api.calls", "cpu.hours", "store.gb", "gpu.hours")  # graduated, volume, package, unit, by day, unpriced
UNITS = {str(p["sku"]): str(p["unit"]) for p in PRICES} | {"gpu.hours": "Hours"}
START_S = START_NS // 1_000_000_000


def _yaml(prices: list[dict[str, Any]]) -> str:
    return "currency: USD\nprices:\n" + "".join(f"  - {json.dumps(price)}\n" for price in prices)


# The one that the oracle knows, and one that may be in force before it.
BOOKS = (_yaml(PRICES), _yaml([*PRICES[1:3], {**PRICES[0], "unit_price": "0.5"}, PRICES[4]]))


class Message(NamedTuple):
    """One record to publish."""

    tp: TopicPartition
    key: bytes | None
    value: bytes


class Case(NamedTuple):
    """Messages in the order in which they are published, requests, and what all come to under the last price book."""

    messages: tuple[Message, ...]
    requests: tuple[tuple[float, Request], ...]  # when, as a share of the time in which everything is published
    expected: Expected
    texts: frozenset[tuple[Any, ...]]  # the rows of the line items once more, as line items write them
    empty: bool  # usage may have been cancelled: whether its window is there, at 0, depends on what came first
    closed: bool  # a month was closed: what is a correction depends on what came first, and only sums do not


class _Maker:
    def __init__(self, number: int, partitions: int) -> None:
        self.random = Random(f"traffic {number}")
        self.partitions = partitions
        self.size = SIZES[is_large(number)]
        self.messages: list[Message] = []
        self.known: list[tuple[str, dict[str, Any]]] = []
        self.roamed: set[str] = set()  # ids with copies elsewhere: which of two in conflict comes first nobody could say
        self.contested: set[str] = set()
        self.requests: list[tuple[float, Request]] = []
        self.amended: dict[tuple[str, str, str], Fraction] = {}

    def event(self, number: int) -> dict[str, Any]:
        r = self.random
        age = r.uniform(0, 3 * 3_600) if r.random() < 0.85 else r.uniform(3 * 3_600, 20 * 86_400)
        sku = r.choice(SKUS)
        quantity = Decimal(r.randint(1, 60)).scaleb(r.choice((0, 0, -1, -3)))
        data: dict[str, Any] = {"sku": sku, "quantity": str(quantity) if r.random() < 0.8 else int(quantity) + 1, "unit": UNITS[sku]}
        if r.random() < 0.2:
            data["region"] = r.choice(("eu-central-1", "us-east-1"))
        return {
            "specversion": "1.0", "id": f"e-{number}", "source": "collector", "type": "ratemill.usage",
            "subject": f"account-{r.randrange(ACCOUNTS)}",
            "time": datetime.fromtimestamp(int(START_S - age), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "data": data,
        }  # fmt: skip

    def put(self, topic: str, event: dict[str, Any] | list[dict[str, Any]], partition: int | None = None) -> None:
        first = event[0] if isinstance(event, list) else event
        value = json.dumps(event).encode()
        if topic == DIRECT:
            account = str(first["subject"])
            home = partition_of(account, self.partitions)
            self.messages.append(Message(TopicPartition(DIRECT, home), account.encode(), value))
        else:
            home = int(first["id"].split("-")[1]) % self.partitions
            self.messages.append(Message(TopicPartition(HOPPED, home if partition is None else partition), None, value))

    def duplicate(self) -> None:
        topic, event = self.random.choice(self.known)
        copy = json.loads(json.dumps(event))
        if self.random.random() < 0.3 and isinstance(copy["data"]["quantity"], str):
            copy["data"]["quantity"] += "0" if "." in copy["data"]["quantity"] else ".0"
        if self.random.random() < 0.4 and event["id"] not in self.contested:
            self.roamed.add(event["id"])
            self.put(DIRECT if topic == HOPPED else HOPPED, copy)
        else:
            self.put(topic, copy)

    def conflict(self) -> None:
        topic, event = self.random.choice(self.known)
        if event["id"] not in self.roamed:
            self.contested.add(event["id"])
            copy = json.loads(json.dumps(event))
            copy["data"]["quantity"] = str(Decimal(str(copy["data"]["quantity"])) + 1)
            self.put(topic, copy)

    def poison(self, number: int) -> None:
        r = self.random
        kind = r.randrange(len(POISON) + 2)
        topic = r.choice((DIRECT, HOPPED))
        if kind < len(POISON):
            self.messages.append(Message(TopicPartition(topic, r.randrange(self.partitions)), None, POISON[kind]))
            return
        event = self.event(number)
        if kind == len(POISON):
            event["time"] = "1970-01-01T00:00:00Z"
        else:
            del event["data"]["sku"]
        self.put(topic, event)

    def make(self) -> None:
        for number in range(self.random.randint(*self.size)):
            dice = self.random.random()
            if dice < 0.16 and self.known:
                self.duplicate()
            elif dice < 0.22 and self.known:
                self.conflict()
            elif dice < 0.28:
                self.poison(number)
            elif dice < 0.34:
                self.put(HOPPED, [self.event(number) | {"id": f"b-{number}-{at}"} for at in range(self.random.randint(2, 4))])
            else:
                topic = self.random.choice((DIRECT, HOPPED))
                event = self.event(number)
                self.known.append((topic, event))
                self.put(topic, event)


    def ask(self) -> None:
        """In every third case something is asked: amendments, cancellations, re-ratings, a close."""
        r = self.random
        if r.random() < 0.65 or not self.known:
            return
        for _ in range(r.choice((1, 1, 2, 3))):
            about = {"id": f"{r.getrandbits(128):032x}", "author": "operator", "reason": "because", "at_ns": START_NS}
            dice, when = r.random(), r.random()
            if dice < 0.6:
                self.amend(about, when)
            elif dice < 0.8:
                account = r.choice(("", f"account-{r.randrange(ACCOUNTS)}"))
                self.requests.append((when, Rerate(account=account, sku=r.choice(("", *SKUS)), period=r.choice(("", "2026-11")), **about)))
            else:
                self.requests.append((when, Close(period="2026-10", **about)))

    def amend(self, about: dict[str, Any], when: float) -> None:
        r = self.random
        event = r.choice(self.known)[1]
        identity = event["subject"], event["source"], event["id"]
        if event["id"] in self.contested or identity in self.amended:
            return
        (original,) = decode_record("cloudevents", json.dumps(event).encode(), ())
        assert isinstance(original, UsageEvent)
        quantity = Decimal(r.randint(0, 80)) / 4 if r.random() < 0.6 else None
        self.amended[identity] = Fraction(quantity or 0)
        replacement = None if quantity is None else replace(original, quantity=quantity)
        self.requests.append((when, Amend(original=original, origin=Origin("usage.raw.direct", 0, 0, 0), replacement=replacement, **about)))


def _text(number: Fraction | None) -> str | None:
    return None if number is None else plain(Decimal(number.numerator) / Decimal(number.denominator))


@lru_cache(maxsize=2_000)
def case_of(number: int, partitions: int) -> Case:
    """A traffic by its number."""
    maker = _Maker(number, partitions)
    maker.make()
    maker.ask()
    offsets: dict[TopicPartition, int] = {}
    raw = []
    for tp, _, value in maker.messages:
        offset = offsets.get(tp, 0)
        offsets[tp] = offset + 1
        raw.append(Raw(tp.topic, tp.partition, offset, value, START_NS // 1_000_000))
    asked = [request for _, request in maker.requests]
    wanted = expected(raw, PRICES, maker.amended)
    return Case(
        tuple(maker.messages),
        tuple(maker.requests),
        wanted,
        frozenset((*row[:8], *map(_text, row[8:11]), row.unpriced) for row in wanted.rows),
        any(isinstance(request, Amend) for request in asked),
        any(isinstance(request, Close) for request in asked),
    )
