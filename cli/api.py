"""`ratemill api`: the HTTP interface."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import Any

import click
import uvicorn
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from ..api.alerting.store import Alerts
from ..api.app import make_app
from ..api.google_tokens import GoogleTokens, keys_from
from ..api.live import Live
from ..api.outbox import Outbox
from ..api.parts import Parts
from ..api.signed_links import Links, verifier
from ..api.sources.store import Sources
from ..api.tokens import Tokens
from ..pricing.money import use_exact_arithmetic
from ..schemas.errors import Unavailable
from ..sinks.elasticsearch import connect
from ..store.database import open_database, transaction
from ..streams.config import Config, load_config
from ..streams.logs import set_up_logs
from ..streams.reach import client_settings
from ..streams.topics import Topics, ensure_topics
from .pipeline_view import PipelineView
from .publish import raw_topic
from .serving.ports import make_ports

__all__ = ["command"]

_GRACE_S = 10  # for requests under way, once a signal asks to stop


@click.command("api")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="N", help="Port to listen on.  [default: 8321]")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
def command(host: str | None, port: int | None, path: str | None) -> None:
    """Serve the HTTP interface: usage in, costs out, the live cost page at /, health, metrics; described at /openapi.json.

    It needs a key for everything but health: `ratemill tokens create --name me --scope events:write`. It stops on SIGTERM, once requests
    under way are answered. Put a proxy that speaks TLS before it where others than this machine reach it.
    """
    given: dict[str, Any] = {k: v for k, v in (("host", host), ("port", port)) if v is not None}
    config = load_config(path, overrides={"api": given} if given else None)
    set_up_logs(config)
    use_exact_arithmetic()  # every task begins with a copy of this context
    asyncio.run(_serve(config))


async def _serve(config: Config) -> None:
    async with AsyncExitStack() as stack:
        parts = await _parts(config, stack)
        settings = uvicorn.Config(
            make_app(parts), config.api.host, config.api.port, log_config=None, access_log=False, server_header=False, lifespan="off",
            timeout_graceful_shutdown=_GRACE_S, timeout_keep_alive=30, limit_concurrency=1_000,
        )  # fmt: skip
        server = _Server(settings, parts.live)
        await server.serve()
    if not server.started:
        raise Unavailable(f"cannot listen on {config.api.host}:{config.api.port}; is the port taken? choose another by --port")


class _Server(uvicorn.Server):
    """Says where it listens: the port may have been chosen by the system. A stop ends what would go on for as long as clients like."""

    def __init__(self, settings: uvicorn.Config, live: Live) -> None:
        super().__init__(settings)
        self._live = live

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._live.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Without sending the signal to ourselves once more at the end, as uvicorn does: a stop that was asked for is no failure."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            click.echo(f"listening on http://{host}:{port}", err=True)


async def _parts(config: Config, stack: AsyncExitStack) -> Parts:
    kafka = config.kafka
    topic = raw_topic(Topics.of(kafka), "cloudevents", None)
    outbox = Outbox(client_settings(kafka), topic, partial(ensure_topics, config, {topic}), config.api.max_waiting_bytes)
    stack.push_async_callback(outbox.close)
    elasticsearch = connect(config.elasticsearch.url, **config.elasticsearch.access)
    stack.push_async_callback(elasticsearch.close)
    engine = open_database(config.api.database.get_secret_value())
    stack.callback(engine.dispose)
    tokens = Tokens(engine)
    links = Links(engine, tokens)
    verify = verifier(tokens, links)
    pipeline = PipelineView(config)
    stack.push_async_callback(pipeline.close)
    return Parts(
        outbox=outbox,
        elasticsearch=elasticsearch,
        index_prefix=config.elasticsearch.index_prefix,
        verify=lambda text: asyncio.to_thread(verify, text),
        check_database=lambda: asyncio.to_thread(_select_1, engine),
        limits=config.rating.limits,
        max_body_bytes=config.api.max_body_bytes,
        max_events=config.api.max_events,
        now_ns=time.time_ns,
        pipeline=pipeline,
        registry=CollectorRegistry(),
        links=links,
        public_url=config.api.public_url,
        frame_ancestors=config.api.frame_ancestors,
        ports=make_ports(config, stack),
        alerts=Alerts(engine, config.api.allow_private_webhooks),
        sources=Sources(engine),
        expected_sources=config.watch.expected_sources,
        google=_google(config),
    )


def _google(config: Config) -> GoogleTokens | None:
    api = config.api
    return GoogleTokens(api.pubsub_audience, api.pubsub_email, keys_from(api.pubsub_keys_url)) if api.pubsub_audience else None


def _select_1(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("SELECT 1"))
