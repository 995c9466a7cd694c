"""A bare script: confluent-kafka, a set of identities and a dict of windows in memory. A restart loses or counts twice: no guarantee."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from .job import WRITE_EVERY_S, ZERO, Settings, ready, settings, tariffs

BATCH = 10_000


class Windows:
    """Everything that was counted."""

    def __init__(self, told: Settings) -> None:
        self._tariffs = tariffs(told.prices)
        self._seen: set[str] = set()
        self._totals: dict[str, Decimal] = {}  # by "account sku month": what is priced already
        self._windows: dict[str, tuple[Decimal, Decimal]] = {}  # by "account sku hour": what is written already
        self._added: dict[str, Decimal] = {}

    def add(self, event: dict[str, Any]) -> None:
        """Count an event, unless it was there before."""
        account, data = event["subject"], event["data"]
        identity = f"{account} {event['source']} {event['id']}"
        if identity in self._seen:
            return
        self._seen.add(identity)
        window = f"{account} {data['sku']} {event['time'][:13]}"
        self._added[window] = self._added.get(window, ZERO) + Decimal(data["quantity"])

    def changed(self) -> list[tuple[str, Decimal, Decimal]]:
        """(window, quantity, cost) of those that changed since the last call."""
        found = []
        for window, added in self._added.items():
            month = window[:-6]
            before = self._totals.get(month, ZERO)
            after = self._totals[month] = before + added
            quantity, cost = self._windows.get(window, (ZERO, ZERO))
            now = quantity + added, cost + self._tariffs[window.split(" ")[1]].cost(before, after)
            self._windows[window] = now
            found.append((window, *now))
        self._added.clear()
        return found


def main() -> None:
    """Count until ended."""
    import orjson
    from confluent_kafka import Consumer, Producer

    told = settings()
    windows = Windows(told)
    consumer = Consumer({
        "bootstrap.servers": told.bootstrap, "group.id": told.application, "auto.offset.reset": "earliest", "fetch.message.max.bytes": 4 << 20,
    })  # fmt: skip
    producer = Producer({"bootstrap.servers": told.bootstrap, "linger.ms": 50, "batch.size": 1 << 20, "queue.buffering.max.messages": 1_000_000})
    consumer.subscribe([told.topic], on_assign=lambda *_: ready())
    due = time.monotonic() + WRITE_EVERY_S
    while True:
        messages = consumer.consume(BATCH, 0.5)
        for message in messages:
            if message.error() is None:
                windows.add(orjson.loads(message.value()))
        if not messages or time.monotonic() >= due:
            for window, quantity, cost in windows.changed():
                producer.produce(told.out, key=window, value=b'{"quantity":"%s","cost":"%s"}' % (str(quantity).encode(), str(cost).encode()))
            producer.flush()
            due = time.monotonic() + WRITE_EVERY_S


if __name__ == "__main__":
    main()
