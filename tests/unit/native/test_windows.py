"""The compiled windows rate as the Python they stand for: every commit writes the same line items and the same entries, byte for byte.

So does a draft beside them: it is told the same, and writes the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from ratemill.metering.tariff import parse_tariff
from ratemill.pricing.money import plain
from ratemill.schemas.decoders.cloudevents import decode_plain
from ratemill.schemas.times import format_time
from ratemill.schemas.usage_event import UsageEvent, hot
from ratemill.streams.core.corrections import Closed
from ratemill.streams.core.counted import Counted
from ratemill.streams.core.entries import Change
from ratemill.streams.core.items import GroupKey
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.shadow import Shadow
from ratemill.streams.core.state import PartitionState, Settings
from ratemill.streams.core.store import Effects, MemoryStore

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
# Drafts: in other stretches and with other bounds; with charges of an account, which is then compared in closed months too.
DRAFT = """
currency: USD
prices:
  - {id: first, sku: s.unit, unit: u, model: unit, unit_price: "0.02", effective_to: "2026-03-02T00:00:00Z"}
  - {id: second, sku: s.unit, unit: u, model: unit, unit_price: "0.03", effective_from: "2026-03-02T00:00:00Z"}
  - id: graduated
    sku: s.graduated
    unit: u
    model: graduated
    accumulate: day
    tiers: [{up_to: "2.5", unit_price: "3"}, {unit_price: "0.75"}]
  - {id: regions, sku: s.unpriced, unit: u, model: matrix, dimensions: [region], cells: [{match: {region: eu}, unit_price: "2"}]}
"""
TERMS = OTHER + """
adjustments: [{id: pay, type: credits}, {id: partner, type: discount, percent: "12.5"}]
accounts:
  - account: acct-7
    credits: [{id: g, amount: "30", effective_from: 2026-02-27T00:00:00Z, expires: 2026-03-02T11:00:00Z}]
"""
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


class Beside:
    """A draft beside a state, as a lane runs it, and what it was told since the last commit."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.shadow: Any = None
        self.told: dict[GroupKey, list[tuple[bytes, str, str]]] = {}

    def wants(self, group: GroupKey) -> bool:
        wanted: bool = self.shadow.wants(group)
        return wanted

    def change(self, group: GroupKey, changes: list[Change]) -> None:
        assert group not in self.told
        self.told[group] = [(key, _text(before), _text(after)) for key, before, after in changes]
        self.shadow.change(group, changes)

    def follow(self, state: PartitionState, draft: Rates | None, most: int) -> Any:
        """Between two commits: take over what is compared now, and go on with the sweep."""
        if self.shadow is None or not self.shadow.of(state.rates, draft, state.closed.month):
            self.shadow = Shadow(self.store, state.rates, draft, state.closed, 77, cached_atoms=40)
        self.shadow.sweep(most)
        state.watch = None if self.shadow.phase == "off" else self
        return self.commit(True)

    def commit(self, tell: bool) -> Any:
        """What it was told, and what it writes."""
        told, self.told = self.told, {}
        made = self.shadow.effects(tell)
        self.store.apply(Effects((), made.puts, {}, 0, []))
        self.shadow.committed()
        return sorted(told.items()), _by_key(made.puts), _by_key(made.records)


class Both:
    """Two states that get the same."""

    def __init__(self, rng: random.Random, rates: Rates, cached: int) -> None:
        self.rng, self.cached, self.rates, self.closed = rng, cached, rates, Closed()
        self.stores = MemoryStore(), MemoryStore()
        self.revision = self.written = self.number = self.left = self.natively = self.told = self.told_natively = 0
        self.draft: Rates | None = None
        self.readings = hot.Readings()
        self.start()

    def start(self) -> None:
        settings = Settings(cached_entries=self.cached)
        self.python = InPython(self.stores[0], self.rates, settings, self.closed)
        self.compiled = PartitionState(self.stores[1], self.rates, settings, self.closed)
        self.beside = Beside(self.stores[0]), Beside(self.stores[1])
        real, beside = self.compiled._counted.rate, self.beside[1]

        def rate(*arguments: Any) -> Any:
            known = len(beside.told)
            more, left = real(*arguments)
            self.told_natively += len(beside.told) - known
            self.left += len(left)
            self.natively += len(arguments[-1].written)
            return more, left

        self.compiled._counted.rate = rate
        self.follow()

    def follow(self) -> None:
        most = self.rng.choice((3, 20, 1_000))
        one, other = self.beside[0].follow(self.python, self.draft, most), self.beside[1].follow(self.compiled, self.draft, most)
        assert one == other

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
        tell = self.rng.random() < 0.4
        for state, store, beside in zip((self.python, self.compiled), self.stores, self.beside, strict=True):
            effects = state.seal(MARCH, self.revision)
            items = list(effects.line_items)
            assert len({identity for identity, _ in items}) == len(items)
            store.apply(effects)
            state.committed()
            results.append((sorted(items), sorted(effects.puts), sum(effects.unpriced), dict(effects.ids.items()), *beside.commit(tell)))
        assert results[0] == results[1]
        self.told += len(results[0][4])
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
        elif does < 0.08:
            book = self.rng.choice(("", DRAFT, TERMS))
            self.draft = rates(book) if book else None
        elif does < 0.085:
            self.closed = Closed(self.rates.default.month_of(MARCH) - 1, self.rates)
            self.python.use(self.rates, self.closed)
            self.compiled.use(self.rates, self.closed)


def _text(quantity: Decimal | None) -> str:
    """Its value: how many zeros stand behind it depends on what is cached, in Python too."""
    return "" if quantity is None else plain(quantity)


def _by_key(records: Iterable[tuple[bytes, bytes | None]]) -> list[tuple[bytes, bytes | None]]:
    return sorted(records, key=lambda record: record[0])


def _usage(event: dict[str, Any]) -> UsageEvent:
    return decode_plain(json.dumps(event).encode())


def rates(book: str) -> Rates:
    tariff = parse_tariff(book, "b.yaml", METERS, "m.yaml")
    return Rates(tariff.book, 3_600, tariff.meters)


def play(seed: int, commits: int = 150) -> Both:
    rng = random.Random(seed)
    both = Both(rng, rates(BOOK), rng.choice((2, 30, 100_000)))
    both.draft = rates(DRAFT)
    for _ in range(commits):
        for _ in range(rng.choice((0, 1, 1, 2))):
            both.add()
            if rng.random() < 0.2:
                both.anything(between=False)
        both.commit()
        both.anything()
        both.follow()
    return both


@pytest.mark.parametrize("seed", range(25))
def test_every_commit_is_the_same(seed: int) -> None:
    both = play(seed)
    # Else only one of them was at work.
    assert both.natively > 100
    assert both.left > 100
    assert both.written > both.natively + 100
    assert both.told_natively > 100
    assert both.told > both.told_natively + 100
