"""The HTTP interface in this process, on a real Elasticsearch that holds what `ratemill rate` makes of some events."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from decimal import localcontext
from pathlib import Path
from typing import Any, cast

import httpx
import yaml
from prometheus_client import CollectorRegistry
from ratemill.api.alerting.store import Alerts
from ratemill.api.app import make_app
from ratemill.api.outbox import Outbox
from ratemill.api.parts import Parts
from ratemill.api.ports import Ports
from ratemill.api.signed_links import Links, verifier
from ratemill.api.sources.store import Sources
from ratemill.api.tokens import Principal, Tokens
from ratemill.cli.offline import OfflineRating
from ratemill.collectors.files import Piece
from ratemill.metering.tariff import parse_tariff
from ratemill.pricing.money import EXACT, use_exact_arithmetic
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.line_item import RatedLineItem, decode_line_item
from ratemill.sinks.elasticsearch import ElasticsearchSink
from ratemill.store.database import open_database
from ratemill.streams.core.items import changes_between

__all__ = ["InProcess"]


class InProcess:
    """No Kafka stands behind it: usage cannot be sent, and /readyz says so."""

    def __init__(self, elasticsearch: str, folder: Path) -> None:
        self.sink = ElasticsearchSink(elasticsearch, prefix=f"view-{uuid.uuid4().hex[:8]}")
        self.engine = open_database(f"sqlite:///{folder}/api.db")
        self.clock = lambda: int(time.time())
        self.tokens = Tokens(self.engine, lambda: self.clock())
        self.links = Links(self.engine, self.tokens, lambda: self.clock())
        self.app = make_app(self.parts())
        self._standing: dict[str, RatedLineItem] = {}
        self._revision = 0

    def parts(self, **changes: Any) -> Parts:
        """What the interface works with."""

        async def verify(text: str) -> Principal | None:
            return verifier(self.tokens, self.links)(text)

        async def nothing() -> None:
            return None

        given = {
            "outbox": cast(Outbox, None), "elasticsearch": self.sink.client, "index_prefix": self.sink.names.prefix, "verify": verify,
            "check_database": nothing, "limits": DEFAULT_LIMITS, "max_body_bytes": 1 << 20, "max_events": 1_000, "now_ns": time.time_ns,
            "registry": CollectorRegistry(), "pipeline": nothing, "ports": cast(Ports, None),
            "alerts": Alerts(self.engine, False), "sources": Sources(self.engine),
            "links": self.links, "public_url": "https://costs.example.com/", "frame_ancestors": "'none'",
        }  # fmt: skip
        return Parts(**{**given, **changes})

    async def rate(self, prices: Iterable[dict[str, Any]], events: Iterable[dict[str, Any]], **tariff: Any) -> list[RatedLineItem]:
        """Let Elasticsearch hold the line items of these events instead of those before, as a worker would: the changed ones, in a new revision."""
        with localcontext(EXACT):
            text = yaml.safe_dump({"currency": "USD", "prices": list(prices), **tariff}, sort_keys=False)
            refused: list[Any] = []
            rating = OfflineRating(parse_tariff(text, "test"), 3_600, refused.append)
            rating.add([Piece("test", 1, json.dumps(event).encode()) for event in events], "cloudevents")
            assert not refused, refused
            items = [decode_line_item(text) for _, text in rating.line_items()]
        self._revision += 1
        standing = {item.x_line_item_id: item for item in items}
        changed = changes_between(self._standing, standing)
        for item in changed:
            item.x_revision = self._revision
        await self.index(changed)
        self._standing = standing
        return items

    async def index(self, items: Sequence[RatedLineItem]) -> None:
        """Let searches see these line items."""
        assert await self.sink.write(items) == []
        await self.sink.client.indices.refresh(index=self.sink.names.alias)

    def key(self, *scopes: str, account: str | None = None) -> str:
        """A new key."""
        return self.tokens.create("test", scopes, account, 86_400)[0]

    def client(self, key: str = "", scheme: str = "Bearer", app: Any = None) -> httpx.AsyncClient:
        """A client that sends this key."""
        transport = httpx.ASGITransport(_exact(app or self.app), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://ratemill.test", headers={"authorization": f"{scheme} {key}"} if key else {})

    async def close(self) -> None:
        """Leave nothing behind."""
        for index in await self.sink.client.indices.get(index=self.sink.names.pattern):
            await self.sink.client.indices.delete(index=index)
        await self.sink.client.indices.delete_index_template(name=self.sink.names.template)
        await self.sink.close()
        self.engine.dispose()


def _exact(app: Any) -> Any:
    """As `ratemill api` runs it: in the exact context."""

    async def run(*arguments: Any) -> None:
        use_exact_arithmetic()
        await app(*arguments)

    return run
