"""Bytewax: one stateful operator on the account, which writes what changed every few seconds; with recovery, the state goes to SQLite each epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from .job import WRITE_EVERY_S, ZERO, Tariff, ready, settings, tariffs

EPOCH = timedelta(seconds=10)  # Bytewax's default: how often state and position are kept
BATCH = 5_000
WAIT = timedelta(seconds=WRITE_EVERY_S)


class Account:
    """State of one account, with the methods that a stateful batch operator asks for."""

    def __init__(self, prices: dict[str, Tariff], kept: Any = None) -> None:
        self._prices = prices
        self._seen: set[str]
        self._totals: dict[str, Decimal]
        self._windows: dict[str, tuple[Decimal, Decimal]]
        self._changed: set[str]
        self._seen, self._totals, self._windows, self._changed = kept or (set(), {}, {}, set())
        self._due = datetime.now(UTC) + WAIT if self._changed else None

    def on_batch(self, events: list[tuple[str, str, str, str, str]]) -> tuple[list[Any], bool]:
        """Count events; nothing is written yet."""
        for source, id_, sku, hour, quantity in events:
            identity = f"{source} {id_}"
            if identity in self._seen:
                continue
            self._seen.add(identity)
            added, month, window = Decimal(quantity), f"{sku} {hour[:7]}", f"{sku} {hour}"
            before = self._totals.get(month, ZERO)
            after = self._totals[month] = before + added
            sums, cost = self._windows.get(window, (ZERO, ZERO))
            self._windows[window] = sums + added, cost + self._prices[sku].cost(before, after)
            self._changed.add(window)
        if self._due is None and self._changed:
            self._due = datetime.now(UTC) + WAIT
        return [], False

    def on_notify(self) -> tuple[list[tuple[str, str, str]], bool]:
        """Write what changed."""
        found = [(window, str(quantity), str(cost)) for window in self._changed for quantity, cost in (self._windows[window],)]
        self._changed.clear()
        self._due = None
        return found, False

    def on_eof(self) -> tuple[list[tuple[str, str, str]], bool]:
        """Write what changed."""
        return self.on_notify()

    def notify_at(self) -> datetime | None:
        """When to write."""
        return self._due

    def snapshot(self) -> Any:
        """A copy, for it is kept later than it is taken."""
        return self._seen.copy(), self._totals.copy(), self._windows.copy(), self._changed.copy()


def main() -> None:
    """Run the flow."""
    import bytewax.operators as op
    import orjson
    from bytewax._bytewax import cli_main  # what `python -m bytewax.run` calls
    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.recovery import RecoveryConfig, init_db_dir

    told = settings()
    prices = tariffs(told.prices)

    class Source(KafkaSource):  # type: ignore[misc]
        def build_part(self, *given: Any) -> Any:
            part = super().build_part(*given)
            ready()
            return part

    class Logic(Account, op.StatefulBatchLogic):  # type: ignore[misc]
        pass

    def decode(messages: list[Any]) -> list[Any]:
        found = []
        for message in messages:
            event = orjson.loads(message.value)
            data = event["data"]
            found.append((event["subject"], (event["source"], event["id"], data["sku"], event["time"][:13], data["quantity"])))
        return found

    def encode(results: list[Any]) -> list[Any]:
        return [
            KafkaSinkMessage(f"{account} {window}".encode(), orjson.dumps({"quantity": quantity, "cost": cost}))
            for account, (window, quantity, cost) in results
        ]

    flow = Dataflow("rate")
    source = Source([told.bootstrap], [told.topic], batch_size=BATCH, add_config={"fetch.message.max.bytes": str(4 << 20)})
    stream = op.flat_map_batch("decode", op.input("in", flow, source), decode)
    rated = op.stateful_batch("rate", stream, lambda kept: Logic(prices, kept))
    sink = KafkaSink([told.bootstrap], told.out, add_config={"linger.ms": "5", "queue.buffering.max.messages": "1000000"})
    op.output("out", op.flat_map_batch("encode", rated, encode), sink)

    recovery = None
    if told.guarantee == "recovery":
        folder = Path(told.folder) / "recovery"
        folder.mkdir()
        init_db_dir(folder, 1)
        recovery = RecoveryConfig(folder)
    cli_main(flow, epoch_interval=EPOCH, recovery_config=recovery)


if __name__ == "__main__":
    main()
