"""`ratemill watch` over costs from a file, without Kafka and Elasticsearch, and dying or broken on purpose: `python watch_main.py JSON`.

JSON: {"costs": file with rows of costs by billing month, "evaluated": file that gets a line for each look at them, "kill": point at
which it dies, "breaks": [name, …]}. Points: recorded (firings are written down), sending, sent (answered, and that is not written down),
settled. Everything else comes from the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from ratemill.api import watcher
from ratemill.api.alerting import deliveries, webhooks
from ratemill.api.alerting.signing import new_id
from ratemill.cli import watch
from ratemill.cli.main import main
from ratemill.schemas.arrivals import Arrivals
from ratemill.sinks.costs import CostRow
from ratemill.sinks.periods import ClosedPeriods
from ratemill.store import lease
from ratemill.store.database import transaction

SPEC = json.loads(sys.argv.pop(1))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dies_after(name: str) -> None:
    """Let the process die once a method of Deliveries has done something."""
    real = getattr(deliveries.Deliveries, name)

    def method(self: Any, *arguments: Any) -> Any:
        if found := real(self, *arguments):
            _die()
        return found

    setattr(deliveries.Deliveries, name, method)


def _dies_sending(before: bool) -> None:
    real = webhooks.Sender.send

    async def send(self: Any, *arguments: Any) -> None:
        if not before:
            await real(self, *arguments)
        _die()

    webhooks.Sender.send = send  # type: ignore[assignment,method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "recorded": lambda: _dies_after("record"),
    "sending": lambda: _dies_sending(before=True),
    "sent": lambda: _dies_sending(before=False),
    "settled": lambda: _dies_after("settle"),
}


def _no_lease() -> None:
    """Every process works, and may write."""
    lease.Lease.take = lambda self: True  # type: ignore[method-assign]
    lease.Lease.renew = lambda self: None  # type: ignore[method-assign]
    lease.Lease.left = lambda self: 1e9  # type: ignore[method-assign]

    @contextmanager
    def unfenced(self: Any) -> Any:
        with transaction(self._engine) as connection:
            yield connection

    lease.Lease.transaction = unfenced  # type: ignore[method-assign]


def _fresh_ids() -> None:
    """A new id for each try."""
    real = webhooks.Sender.send

    async def send(self: Any, url: str, id: str, *arguments: Any) -> Any:
        return await real(self, url, new_id(), *arguments)

    webhooks.Sender.send = send  # type: ignore[method-assign]


BREAKS = {"no_lease": _no_lease, "fresh_ids": _fresh_ids}


async def _costs(*_: Any, account: str, period: str, by: tuple[str, ...]) -> list[CostRow]:
    with Path(SPEC["evaluated"]).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return msgspec.json.decode(Path(SPEC["costs"]).read_bytes(), type=dict[str, list[CostRow]]).get(period, [])


async def _closed(*_: Any) -> ClosedPeriods:
    return ClosedPeriods()


async def _nothing(*_: Any) -> AsyncIterator[Arrivals]:
    while True:
        await asyncio.sleep(0.2)
        yield Arrivals()


if __name__ == "__main__":
    watcher.costs, watcher.read_closed, watch.read_arrivals = _costs, _closed, _nothing  # type: ignore[assignment]
    watcher._LOOK_S = 0.1
    webhooks.RETRY_S = (1,) * 20  # type: ignore[assignment]
    for name in SPEC.get("breaks", ()):
        BREAKS[name]()
    if "kill" in SPEC:
        POINTS[SPEC["kill"]]()
    signal.alarm(120)
    main()
