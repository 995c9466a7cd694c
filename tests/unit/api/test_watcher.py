"""The watcher in this process, over costs that a test makes up: what fails or is slow keeps nothing else from being told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from harness.receiver import Receiver
from ratemill.api import watcher
from ratemill.api.alerting.rules import Definition
from ratemill.api.alerting.store import Alerts
from ratemill.api.alerting.webhooks import Sender
from ratemill.api.sources.store import Sources
from ratemill.api.watcher import AT_ONCE_PER_ACCOUNT, Watcher, WatchParts
from ratemill.schemas.arrivals import Arrivals
from ratemill.schemas.errors import RatemillError, Unavailable
from ratemill.sinks.costs import CostRow
from ratemill.sinks.periods import ClosedPeriods
from ratemill.store.database import open_database
from ratemill.store.lease import Lease


class Slow(Receiver):
    """Knows how many requests of a path were under way at once."""

    def __enter__(self) -> Slow:
        self._now, self.most, self._counting = Counter[str](), Counter[str](), threading.Lock()
        super().__enter__()
        return self

    def _take(self, path: str, *arguments: Any) -> int:
        with self._counting:
            self._now[path] += 1
            self.most[path] = max(self.most[path], self._now[path])
        try:
            return super()._take(path, *arguments)
        finally:
            with self._counting:
                self._now[path] -= 1


@pytest.fixture
def receiver() -> Iterator[Slow]:
    with Slow() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, receiver: Slow, monkeypatch: pytest.MonkeyPatch) -> Alerts:
    """Rules of acme, with many thresholds, and of globex, with one; all are reached."""
    alerts = Alerts(open_database(f"sqlite:///{tmp_path}/api.db"), allow_private=True)
    for account, thresholds in (("acme", tuple(map(str, range(1, 13)))), ("globex", ("1",))):
        receiver.secrets[f"/{account}"] = [alerts.create(account, "r", Definition("cost", thresholds, "USD"), f"{receiver.url}/{account}")[0]]

    async def costs(*_: Any, **__: Any) -> list[CostRow]:
        return [CostRow({}, "USD", "12", "12", 1, 0)]

    async def closed(*_: Any) -> ClosedPeriods:
        return ClosedPeriods()

    monkeypatch.setattr(watcher, "costs", costs)
    monkeypatch.setattr(watcher, "read_closed", closed)
    monkeypatch.setattr(watcher, "_LOOK_S", 0.05)
    monkeypatch.setattr(watcher, "periods_of", lambda _: ["2026-11"])
    return alerts


async def nothing(_: Mapping[tuple[str, int], int]) -> AsyncGenerator[Arrivals]:
    while True:
        await asyncio.sleep(0.05)
        yield Arrivals()


def watch(alerts: Alerts, until: Callable[[], Any], arrivals: Callable[..., AsyncGenerator[Arrivals]] = nothing) -> WatchParts:
    """Run it until something holds."""
    engine = alerts._engine

    async def run() -> WatchParts:
        async with Sender(5, allow_private=True) as sender:
            client: Any = None
            parts = WatchParts(engine, Lease(engine, "watch", "me", 30), sender, client, "x", arrivals, 0.1)
            working = asyncio.ensure_future(Watcher(parts).run())
            deadline = time.monotonic() + 30
            try:
                while not until():
                    assert time.monotonic() < deadline
                    assert not working.done(), working.exception()
                    await asyncio.sleep(0.02)
            finally:
                working.cancel()
                await asyncio.wait([working])
            return parts

    return asyncio.run(run())


def test_a_slow_receiver_takes_so_many_tries_at_once_and_no_more(world: Alerts, receiver: Slow) -> None:
    receiver.plans["/acme"] = [0.3] * 12
    watch(world, lambda: len(receiver.of("/acme")) == 12 and receiver.of("/globex"))
    assert receiver.most["/acme"] == AT_ONCE_PER_ACCOUNT
    assert receiver.got.index(receiver.of("/globex")[0]) <= 8  # and not behind all of them


def test_without_that_bound_it_would_take_more(world: Alerts, receiver: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(watcher, "AT_ONCE_PER_ACCOUNT", 32)
    receiver.plans["/acme"] = [0.3] * 12
    watch(world, lambda: len(receiver.of("/acme")) == 12)
    assert receiver.most["/acme"] > AT_ONCE_PER_ACCOUNT


def test_costs_that_cannot_be_read_keep_no_others_from_firing(world: Alerts, receiver: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = watcher.costs, Counter[str]()

    async def costs(*_: Any, account: str, **named: Any) -> list[CostRow]:
        tries[account] += 1
        if account == "acme":
            raise RatemillError("too many line items")
        if tries[account] == 1:
            raise Unavailable("not now")
        return await real(*_, account=account, **named)

    monkeypatch.setattr(watcher, "costs", costs)
    parts = watch(world, lambda: receiver.of("/globex"))
    assert receiver.of("/acme") == []
    errors = parts.metrics.registry.get_sample_value("ratemill_watch_errors_total", {"step": "evaluate"})
    assert errors is not None
    assert errors >= 2


def test_kafka_that_goes_away_is_read_again_from_where_the_counts_are(world: Alerts) -> None:
    began = []

    async def arrivals(positions: Mapping[tuple[str, int], int]) -> AsyncGenerator[Arrivals]:
        began.append(dict(positions))
        offset = positions.get(("raw", 0), 0)
        yield Arrivals({("s", 0): 1}, {("s", 0): 1}, {("s", 0): 1}, {("raw", 0): offset + 1})
        raise Unavailable("Kafka is gone")

    watch(world, lambda: len(began) >= 3, arrivals)
    assert began[:3] == [{}, {("raw", 0): 1}, {("raw", 0): 2}]
    assert Sources(world._engine).positions()[("raw", 0)] >= 2


def test_whoever_reads_the_gauge_while_it_is_set_finds_every_source(world: Alerts, monkeypatch: pytest.MonkeyPatch) -> None:
    async def looks() -> list[set[str]]:
        client: Any = None
        async with Sender(5, allow_private=True) as sender:
            lease = Lease(world._engine, "watch", "me", 30)
            its = Watcher(WatchParts(world._engine, lease, sender, client, "x", nothing, 0.1, expected=("a", "b", "c")))
            gauge = its._metrics.silent
            found: list[set[str]] = []
            await its._look()
            real = watcher.is_silent

            def judged(*arguments: Any) -> bool:
                found.append({sample.labels["source"] for metric in gauge.collect() for sample in metric.samples})
                return real(*arguments)

            monkeypatch.setattr(watcher, "is_silent", judged)
            await its._look()
            return found

    assert asyncio.run(looks()) == [{"a", "b", "c"}] * 3
