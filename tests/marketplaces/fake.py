"""What all fake marketplaces have in common: a ledger of what they would bill, and faults on the way to them and back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ratemill.sinks.marketplace.http import Answer, Request

HOUR_S = 3_600


@dataclass(frozen=True)
class Key:
    """What a marketplace tells usage apart by. hour: first second of it."""

    customer: str
    dimension: str
    hour: int


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    return Answer(status, b"" if body is None else json.dumps(body).encode(), headers)


@dataclass
class Fake:
    """billed: everything that was taken, in order; a key that is there twice is billed twice."""

    clock: Callable[[], int]
    billed: list[tuple[Key, Fraction]] = field(default_factory=list)
    requests: int = 0

    def handle(self, request: Request) -> Answer:
        self.requests += 1
        return self.judge(request)

    def judge(self, request: Request) -> Answer:
        raise NotImplementedError

    def quantity_of(self, key: Key) -> Fraction | None:
        found = [quantity for each, quantity in self.billed if each == key]
        return sum(found, Fraction(0)) if found else None


# What may happen to a request, and how often, of a hundred.
FAULTS = {"lost": 5, "answer_lost": 8, "failed": 3, "failed_after": 4, "throttled": 4, "garbled": 3}


@dataclass
class Faulty:
    """The way to a fake. While `down`, nothing arrives at all."""

    fake: Fake
    random: random.Random
    down: bool = False
    healed: bool = False

    def handle(self, request: Request) -> Answer:
        if self.healed:
            return self.fake.handle(request)
        if self.down:
            return Answer(0, detail="no connection", unsent=True)
        kind = self._kind()
        if kind == "lost":
            return Answer(0, detail="no answer within 30 s")
        if kind == "failed":
            return answer(503, {"__type": "ServiceUnavailableException"})
        if kind == "throttled":
            return answer(429, {"__type": "ThrottlingException"}, **{"retry-after": "1"})
        said = self.fake.handle(request)
        if kind == "answer_lost":
            return Answer(0, detail="no answer within 30 s")
        if kind == "failed_after":
            return answer(500, {"__type": "InternalServiceErrorException"})
        if kind == "garbled":
            return Answer(200, said.body[: len(said.body) // 2])
        return said

    def _kind(self) -> str:
        drawn = self.random.randrange(100)
        for kind, share in FAULTS.items():
            if drawn < share:
                return kind
            drawn -= share
        return ""
