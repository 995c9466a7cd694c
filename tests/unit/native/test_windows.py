"""The compiled windows rate as the Python they stand for: every commit writes the same line items and the same entries, byte for byte."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from ratemill.metering.tariff import parse_tariff
from ratemill.schemas.decoders.cloudevents import decode_plain
from ratemill.schemas.times import format_time
from ratemill.schemas.usage_event import UsageEvent, hot
from ratemill.streams.core.corrections import Closed
from ratemill.streams.core.counted import Counted
from ratemill.streams.core.entries import Change
from ratemill.streams.core.items import GroupKey
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.state import PartitionState, Settings
from ratemill.streams.core.store import MemoryStore

pytestmark = pytest.mark.skipif(hot is None, reason="not compiled")

MARCH = 1_772_323_200  # 2026-03-01T00:00:00Z
BOOK = """
currency: USD
prices:
  - {id: unit, sku: s.unit, unit: u, model: unit, unit_price: "0.017"}
  - {id: tiny, sku: s.tiny, unit: u, model: unit, unit_price: "0.00000000000000000000000001"}
  - id: graduated
    sku: s.graduated
    unit: u
    model: graduated
    tiers: [{up_to: "5", unit_price: "3"}, {up_to: "20", unit_price: "1.25"}, {unit_price: "0.5"}]
  - {id: volume, sku: s.volume, unit: u, model: volume, tiers: [{up_to: "5", unit_price: "3"}, {unit_price: "1"}]}
  - {id: first, sku: s.changing, unit: u, model: unit, unit_price: "1", effective_to: "2026-03-02T00:00:00Z"}
  - id: second
    sku: s.changing
    unit: u
    model: graduated
    effective_from: "2026-03-02T00:00:00Z"
    tiers: [{up_to: "6", unit_price: "2"}, {unit_price: "1"}]
"""
OTHER = BOOK.replace('"0.017"', '"0.018"').replace('up_to: "5"', 'up_to: "7"')
METERS = """
meters:
  - {id: seats, event: s.seats, aggregation: max, window: day}
"""
SKUS = ["s.unit", "s.graduated", "s.graduated", "s.tiny", "s.volume", "s.changing", "s.unpriced", "s.seats"]
QUANTITIES = ["0", "0.25", "1", "1.50", "3", "7.125", "0.000001", "1234567890123456789.123456789", "9" * 36, "9" * 50]


class InPython(PartitionState):
    """What `make native` replaces."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._counted: Any = Counted(self._settings.window_s, lambda start: self._rates.default.month_of(start))

    @property
    def native(self) -> bool:
        return False


class Watching:
    def wants(self, group: GroupKey) -> bool:
        return True

    def change(self, group: GroupKey, changes: list[Change]) -> None:
        pass


class Both:
    """Two states that get the same."""

    def __init__(self, rng: random.Random, rates: Rates, cached: int) -> None:
        self.rng, self.cached, self.rates, self.closed = rng, cached, rates, Closed()
        self.stores = MemoryStore(), MemoryStore()
        self.revision = self.written = self.number = self.left = self.natively = 0
        self.readings = hot.Readings()
        self.start()

    def start(self) -> None:
        settings = Settings(cached_entries=self.cached)
        self.python = InPython(self.stores[0], self.rates, settings, self.closed)
        self.compiled = PartitionState(self.stores[1], self.rates, settings, self.closed)
        real = self.compiled._counted.rate

        def rate(*arguments: Any) -> Any:
            more, left = real(*arguments)
            self.left += len(left)
            self.natively += len(arguments[-1].written)
            return more, left

        self.compiled._counted.rate = rate

    def event(self) -> dict[str, Any]:
        """A new event as JSON has it, or one that was there; late ones and reversals among them."""
        rng = self.rng
        self.number += 1
        number = rng.randrange(max(1, self.number - 20), self.number) if self.number > 1 and rng.random() < 0.1 else self.number
        its = random.Random(number)
        account = its.randrange(60)
        quantity = its.choice(QUANTITIES[:7] if account else QUANTITIES[6:])  # one account has quantities that no 128 bits hold
        if rng.random() < 0.004:
            quantity = "-" + quantity
        at = MARCH + (its.randrange(60 if its.random() < 0.95 else 1_000) * 3_600 - its.choice((0, 0, 86_400)) if account else 0)
        data = {"sku": its.choice(SKUS), "quantity": quantity, "unit": "u"}
        data |= {name: its.choice(values) for name, values in (("region", ["eu", "us"]), ("provider", ["aws", "gcp", ""])) if its.random() < 0.5}
        if its.random() < 0.1:
            data["resource"] = f"r{its.randrange(3)}" * its.choice((1, 200))
        return {"specversion": "1.0", "type": "t", "source": "s", "id": f"e{number}", "subject": f"acct-{account}",
                "time": format_time(at * 10**9), "data": data}  # fmt: skip

    def add(self) -> None:
        events = [self.event() for _ in range(self.rng.randrange(1, 60))]
        usage = [_usage(event) for event in events]
        mine = self.python.add(usage)
        if self.rng.random() < 0.3:
            theirs = self.compiled.add(usage)
            assert theirs == mine
            return
        values = [json.dumps(event).encode() for event in events]
        self.readings.read(values, 0, 10_000, 1 << 20, 100, -(1 << 62), 1 << 62, 1, -1)
        theirs = self.compiled.add_readings(self.readings)
        rest = self.compiled.add(usage[self.readings.past :])  # quantities with too many digits, and what follows them
        assert theirs.counted + rest.counted == mine.counted
        assert theirs.duplicates + rest.duplicates == mine.duplicates
        assert theirs.conflicts + [self.readings.past + at for at in rest.conflicts] == mine.conflicts
        assert [at for at, _ in theirs.rejected] + [self.readings.past + at for at, _ in rest.rejected] == [at for at, _ in mine.rejected]

    def commit(self) -> None:
        self.revision += 1
        results = []
        for state, store in zip((self.python, self.compiled), self.stores, strict=True):
            effects = state.seal(MARCH, self.revision)
            items = list(effects.line_items)
            assert len({identity for identity, _ in items}) == len(items)
            store.apply(effects)
            state.committed()
            results.append((sorted(items), sorted(effects.puts), sum(effects.unpriced), dict(effects.ids.items())))
        assert results[0] == results[1]
        self.written += len(results[0][0])

    def anything(self, between: bool = True) -> None:
        """What else happens to a state; between: nothing waits for a commit."""
        does = self.rng.random()
        if does < 0.02 and between:
            self.start()
        elif does < 0.04:
            self.rates = rates(self.rng.choice((BOOK, OTHER)))
            self.python.use(self.rates)
            self.compiled.use(self.rates)
        elif does < (0.3 if self.python.watch else 0.06):
            self.python.watch = self.compiled.watch = None if self.python.watch else Watching()
        elif does < 0.065:
            self.closed = Closed(self.rates.default.month_of(MARCH) - 1, self.rates)
            self.python.use(self.rates, self.closed)
            self.compiled.use(self.rates, self.closed)


def _usage(event: dict[str, Any]) -> UsageEvent:
    return decode_plain(json.dumps(event).encode())


def rates(book: str) -> Rates:
    tariff = parse_tariff(book, "b.yaml", METERS, "m.yaml")
    return Rates(tariff.book, 3_600, tariff.meters)


def play(seed: int, commits: int = 150) -> Both:
    rng = random.Random(seed)
    both = Both(rng, rates(BOOK), rng.choice((2, 30, 100_000)))
    for _ in range(commits):
        for _ in range(rng.choice((0, 1, 1, 2))):
            both.add()
            if rng.random() < 0.2:
                both.anything(between=False)
        both.commit()
        both.anything()
    return both


@pytest.mark.parametrize("seed", range(25))
def test_every_commit_is_the_same(seed: int) -> None:
    both = play(seed)
    # Else only one of them was at work.
    assert both.natively > 100
    assert both.left > 100
    assert both.written > both.natively + 100
