"""Faust as its documentation teaches it: an agent, tables in RocksDB with changelogs, a send for each result; at least once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from .job import Settings, ready, settings, tariffs

TABLES = ("seen", "totals", "windows")


async def _create_changelogs(told: Settings) -> None:
    """Faust creates them too, but the first events can come before a busy broker knows them, and then the agent ends."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=told.bootstrap)
    await admin.start()
    names = [f"{told.application}-{table}-changelog" for table in TABLES]
    await admin.create_topics([NewTopic(name, told.partitions, 1, topic_configs={"cleanup.policy": "compact"}) for name in names])
    await admin.close()


def main() -> None:
    """Run the app until ended."""
    import faust
    from faust.transport.producer import ProducerBuffer

    # Left alone, every event makes five log records that nobody sees, and every 100 changes of a table wait until all are on their way.
    logging.disable(logging.INFO)
    ProducerBuffer.max_messages = 10_000
    told = settings()
    asyncio.run(_create_changelogs(told))
    prices = tariffs(told.prices)
    app = faust.App(
        told.application, broker=f"kafka://{told.bootstrap}", store="rocksdb://?driver=rocksdict", datadir=told.folder, web_enabled=False,
        topic_partitions=told.partitions, table_standby_replicas=0, consumer_auto_offset_reset="earliest", producer_linger=0.05,
    )  # fmt: skip
    usage = app.topic(told.topic, key_type=str, key_serializer="raw", value_serializer="json")
    out = app.topic(told.out, key_type=bytes, key_serializer="raw", value_serializer="json")
    defaults: tuple[Callable[[], Any], ...] = (int, lambda: "0", lambda: ("0", "0"))
    seen, totals, windows = (app.Table(name, default=default, partitions=told.partitions) for name, default in zip(TABLES, defaults, strict=True))

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

    faust.Worker(app, loglevel="WARN", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
