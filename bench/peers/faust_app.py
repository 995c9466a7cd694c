"""Faust as its documentation teaches it: an agent, tables in RocksDB with changelogs, a send for each result; at least once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .job import ready, settings, tariffs


def main() -> None:
    """Run the app until ended."""
    import faust

    told = settings()
    prices = tariffs(told.prices)
    app = faust.App(
        told.application, broker=f"kafka://{told.bootstrap}", store="rocksdb://?driver=rocksdict", datadir=told.folder, web_enabled=False,
        topic_partitions=told.partitions, table_standby_replicas=0, consumer_auto_offset_reset="earliest",
    )  # fmt: skip
    usage = app.topic(told.topic, key_type=str, key_serializer="raw", value_serializer="json")
    out = app.topic(told.out, key_type=bytes, key_serializer="raw", value_serializer="json")
    seen = app.Table("seen", default=int, partitions=told.partitions)
    totals = app.Table("totals", default=lambda: "0", partitions=told.partitions)
    windows = app.Table("windows", default=lambda: ("0", "0"), partitions=told.partitions)

    @app.on_rebalance_complete.connect
    async def _owned(*_: Any, **__: Any) -> None:
        ready()

    @app.agent(usage)
    async def rate(events: Any) -> None:
        async for event in events:
            account, data, hour = event["subject"], event["data"], event["time"][:13]
            identity = f"{account} {event['source']} {event['id']}"
            if identity in seen:
                continue
            seen[identity] = 1
            sku, added = data["sku"], Decimal(data["quantity"])
            month, window = f"{account} {sku} {hour[:7]}", f"{account} {sku} {hour}"
            before = Decimal(totals[month])
            quantity, cost = windows[window]
            result = str(Decimal(quantity) + added), str(Decimal(cost) + prices[sku].cost(before, before + added))
            totals[month] = str(before + added)
            windows[window] = result
            await out.send(key=window.encode(), value={"quantity": result[0], "cost": result[1]})

    faust.Worker(app, loglevel="WARN").execute_from_commandline()


if __name__ == "__main__":
    main()
