"""`ratemill watch`: alerts, and which sources are silent."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial

import click

from ..api.alerting.webhooks import Sender
from ..api.watcher import Watcher, WatchParts
from ..pricing.money import use_exact_arithmetic
from ..sinks.elasticsearch import connect
from ..store.database import open_database
from ..store.lease import Lease
from ..streams.arrivals import read_arrivals
from ..streams.config import Config, load_config
from ..streams.logs import set_up_logs
from ..streams.serving import serve
from .corrections import with_config

__all__ = ["command"]

LEASE = "watch"
_THREADS = 128


@click.command("watch")
@with_config
def command(path: str | None) -> None:
    """Watch costs and usage: fire alerts, deliver them, and keep count of which source was heard of when.

    Of several processes with the same database one works, and the others wait to take over. It stops on SIGTERM; after kill -9 every
    alert is delivered, under the id that it had.
    """
    config = load_config(path)
    set_up_logs(config)
    use_exact_arithmetic()
    asyncio.run(_watch(config))


async def _watch(config: Config) -> None:
    watch = config.watch
    # Names of receivers are looked up in them, which can take long, and cannot be broken off.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    async with AsyncExitStack() as stack:
        engine = open_database(config.api.database.get_secret_value())
        stack.callback(engine.dispose)
        elasticsearch = connect(config.elasticsearch.url, **config.elasticsearch.access)
        stack.push_async_callback(elasticsearch.close)
        holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        parts = WatchParts(
            engine=engine,
            lease=Lease(engine, LEASE, holder, watch.lease_s),
            sender=await stack.enter_async_context(Sender(watch.webhook_timeout_s, config.api.allow_private_webhooks)),
            elasticsearch=elasticsearch,
            index_prefix=config.elasticsearch.index_prefix,
            arrivals=partial(read_arrivals, config),
            interval_s=watch.interval_s,
            expected=watch.expected_sources,
        )
        if watch.metrics_port:
            serve("watch", watch.metrics_host, watch.metrics_port, parts.metrics.registry)
        working = asyncio.ensure_future(Watcher(parts).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, working.cancel)
        with suppress(asyncio.CancelledError):
            await working
